package storetest

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"cloudidq/store"
)

// existing describes the record that a call of task T finds, by the conditions of the table in
// store/keys.go. The zero value means no record.
type existing struct {
	status    store.Status
	gone      bool
	owner     string
	claim     claimStatus
	otherUser bool // it belongs to another user than the call's
	erased    bool // the call's user was erased after the call's record was accepted
}

func (e existing) none() bool   { return e.status == "" && !e.gone }
func (e existing) failed() bool { return !e.gone && e.status == store.Failed }

// conditions are the words of the table's first column.
var conditions = map[string]func(existing) bool{
	"none":            existing.none,
	"0":               func(e existing) bool { return !e.gone && e.status == store.Pending },
	"1":               existing.failed,
	"2":               func(e existing) bool { return !e.gone && e.status == store.Resolved },
	"3":               func(e existing) bool { return e.gone },
	"erased since":    func(e existing) bool { return e.erased },
	"another user's":  func(e existing) bool { return e.otherUser },
	"another task's":  func(e existing) bool { return e.owner != taskA },
	"another's claim": func(e existing) bool { return e.owner != taskA && e.claim == claimed },
	"T's claim":       func(e existing) bool { return e.owner == taskA && e.claim != unclaimed },
	"finished by T":   func(e existing) bool { return e.owner == taskA && e.claim == unclaimed },
}

// row is one row of the table.
type row struct {
	name  string
	cells [3]string // claim, save final, save pending
}

// fits reports whether all conditions of the row hold for e.
func (r row) fits(e existing) bool {
	for word := range strings.SplitSeq(r.name, ", ") {
		if !conditions[word](e) {
			return false
		}
	}
	return true
}

// readTable reads the table in the comment of store/keys.go.
func readTable(t *testing.T) []row {
	t.Helper()
	source, err := os.ReadFile("../keys.go")
	if err != nil {
		t.Fatal(err)
	}
	_, text, found := strings.Cut(string(source), "//\texisting record ")
	if !found {
		t.Fatal("store/keys.go has no table")
	}
	text, _, _ = strings.Cut(text, "\n//\n")
	var rows []row
	for _, line := range strings.Split(text, "\n")[1:] {
		cells := regexp.MustCompile(` {2,}`).Split(strings.TrimPrefix(line, "//\t"), -1)
		if len(cells) != 4 {
			t.Fatalf("%d cells, want 4: %s", len(cells), line)
		}
		for word := range strings.SplitSeq(cells[0], ", ") {
			if conditions[word] == nil {
				t.Fatalf("the table has a condition that the test does not know: %q", word)
			}
		}
		rows = append(rows, row{cells[0], [3]string(cells[1:])})
	}
	return rows
}

// allExisting returns every record that a call can find.
func allExisting() []existing {
	all := []existing{{}, {erased: true}, {gone: true}, {gone: true, erased: true}}
	for _, status := range []store.Status{store.Pending, store.Failed, store.Resolved} {
		for _, owner := range []string{taskA, taskB, ""} {
			for _, claim := range []claimStatus{unclaimed, claimed, lapsed} {
				if claim != unclaimed && (owner == "" || status == store.Resolved) {
					continue
				}
				for _, otherUser := range []bool{false, true} {
					for _, erased := range []bool{false, true} {
						all = append(all, existing{
							status: status, owner: owner, claim: claim, otherUser: otherUser, erased: erased,
						})
					}
				}
			}
		}
	}
	return all
}

// The model of the random calls agrees with the table in store/keys.go for every record that
// can exist, so the two cannot drift apart.
func TestModel_MatchesTheTable(t *testing.T) {
	rows := readTable(t)
	used := make([]bool, len(rows))
	for _, e := range allExisting() {
		i := slices.IndexFunc(rows, func(r row) bool { return r.fits(e) })
		if i < 0 {
			t.Errorf("no row of the table fits %+v", e)
			continue
		}
		used[i] = true
		for n, call := range []store.Status{"claim", store.Failed, store.Pending} {
			name := fmt.Sprintf("%s/%+v/%s", rows[i].name, e, call)
			t.Run(name, func(t *testing.T) { checkCell(t, rows[i].cells[n], e, call) })
		}
	}
	for i, used := range used {
		if !used {
			t.Errorf("no existing record fits the row %q", rows[i].name)
		}
	}
}

// checkCell makes one call on the model and compares the resulting record and answer with a
// cell.
func checkCell(t *testing.T, cell string, e existing, call store.Status) {
	t.Helper()
	m := newModel()
	was := store.Record{AppID: "wx", CloudID: id, OpenID: "o-1", Status: e.status, Attempts: 1}
	if e.otherUser {
		was.OpenID = "o-2"
	}
	if !e.none() {
		m.records[modelKey(was)] = &entry{rec: was, owner: e.owner, claim: e.claim, gone: e.gone}
	}
	rec := store.Record{AppID: "wx", CloudID: id, OpenID: "o-1", Status: call, Attempts: 2, AcceptedAt: accepted}
	if e.erased {
		m.erased[userKey(rec.AppID, rec.OpenID)] = true
	} else {
		rec.AcceptedAt = store.At(time.Now())
	}
	var state string
	if call == "claim" {
		rec.Status = store.Pending
		state = map[store.ClaimState]string{
			store.Claimed: "Claimed", store.Busy: "Busy", store.Done: "Done", store.Erased: "Erased",
		}[m.claim(taskA, claimed, rec).State]
	} else {
		m.save(taskA, rec)
	}

	want, claim := entry{rec: was, owner: e.owner, claim: e.claim, gone: e.gone}, unclaimed
	if call == "claim" {
		claim = claimed
	}
	effect, answer, _ := strings.Cut(cell, "; ")
	switch effect {
	case "write":
		want = entry{rec: rec, owner: taskA, claim: claim}
	case "write, same owner":
		want.rec = rec
	case "write a tombstone":
		want = entry{rec: rec, gone: true}
	case "claim, full TTL", "claim, same TTL":
		want.owner, want.claim = taskA, claimed
	case "release":
		want.owner, want.claim = "", unclaimed
	case "nothing":
	default:
		answer = effect
	}
	got := m.records[modelKey(rec)]
	if got == nil {
		got = &entry{rec: was}
	}
	if fmt.Sprint(*got) != fmt.Sprint(want) {
		t.Errorf("the model has the record %+v, the table says %+v", *got, want)
	}
	if answer != state {
		t.Errorf("the model answers %q, the table says %q", state, answer)
	}
}
