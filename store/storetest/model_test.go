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

// there describes the record that a call of task T finds, by the conditions of the table in
// store/keys.go. The zero value means no record.
type there struct {
	status   store.Status
	gone     bool
	owner    string
	hold     hold
	stranger bool // it belongs to another user than the call's
	erased   bool // the call's user was erased after the call's record was accepted
}

func (w there) none() bool   { return w.status == "" && !w.gone }
func (w there) failed() bool { return !w.gone && w.status == store.Failed }

// conditions are the words of the table's first column.
var conditions = map[string]func(there) bool{
	"none":            there.none,
	"0":               func(w there) bool { return !w.gone && w.status == store.Pending },
	"1":               there.failed,
	"2":               func(w there) bool { return !w.gone && w.status == store.Resolved },
	"3":               func(w there) bool { return w.gone },
	"erased since":    func(w there) bool { return w.erased },
	"a stranger's":    func(w there) bool { return w.stranger },
	"another's":       func(w there) bool { return w.owner != taskA },
	"held by another": func(w there) bool { return w.owner != taskA && w.hold == held },
	"T's claim":       func(w there) bool { return w.owner == taskA && w.hold != free },
	"ended by T":      func(w there) bool { return w.owner == taskA && w.hold == free },
}

// row is one row of the table.
type row struct {
	name  string
	cells [3]string // claim, save final, save pending
}

// fits reports whether all conditions of the row hold for w.
func (r row) fits(w there) bool {
	for word := range strings.SplitSeq(r.name, ", ") {
		if !conditions[word](w) {
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
	_, text, found := strings.Cut(string(source), "//\tthere ")
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

// allThere returns every record that a call can find.
func allThere() []there {
	all := []there{{}, {erased: true}, {gone: true}, {gone: true, erased: true}}
	for _, status := range []store.Status{store.Pending, store.Failed, store.Resolved} {
		for _, owner := range []string{taskA, taskB, ""} {
			for _, hold := range []hold{free, held, past} {
				if owner == "" && hold != free || status == store.Resolved && hold != free {
					continue
				}
				for _, stranger := range []bool{false, true} {
					for _, erased := range []bool{false, true} {
						all = append(all, there{status: status, owner: owner, hold: hold, stranger: stranger, erased: erased})
					}
				}
			}
		}
	}
	return all
}

// The model of the random calls agrees with the table in store/keys.go for every record that
// can exist, so the two cannot drift apart.
func TestModel_AsTheTable(t *testing.T) {
	rows := readTable(t)
	used := make([]bool, len(rows))
	for _, w := range allThere() {
		i := slices.IndexFunc(rows, func(r row) bool { return r.fits(w) })
		if i < 0 {
			t.Errorf("no row of the table fits %+v", w)
			continue
		}
		used[i] = true
		for n, call := range []store.Status{"claim", store.Failed, store.Pending} {
			t.Run(fmt.Sprintf("%s/%+v/%s", rows[i].name, w, call), func(t *testing.T) { checkCell(t, rows[i].cells[n], w, call) })
		}
	}
	for i, used := range used {
		if !used {
			t.Errorf("nothing fits the row %q", rows[i].name)
		}
	}
}

// checkCell makes one call on the model and compares the resulting record and answer with a
// cell.
func checkCell(t *testing.T, cell string, w there, call store.Status) {
	t.Helper()
	m := newModel()
	was := store.Record{AppID: "wx", CloudID: id, OpenID: "o-1", Status: w.status, Attempts: 1}
	if w.stranger {
		was.OpenID = "o-stranger"
	}
	if !w.none() {
		m.records[modelKey(was)] = &entry{rec: was, owner: w.owner, hold: w.hold, gone: w.gone}
	}
	rec := store.Record{AppID: "wx", CloudID: id, OpenID: "o-1", Status: call, Attempts: 2, AcceptedAt: accepted}
	if w.erased {
		m.erased[personKey(rec.AppID, rec.OpenID)] = true
	} else {
		rec.AcceptedAt = store.At(time.Now())
	}
	var state string
	if call == "claim" {
		rec.Status = store.Pending
		state = map[store.ClaimState]string{
			store.Claimed: "Claimed", store.Busy: "Busy", store.Done: "Done", store.Erased: "Erased",
		}[m.claim(taskA, held, rec).State]
	} else {
		m.save(taskA, rec)
	}

	want, now := entry{rec: was, owner: w.owner, hold: w.hold, gone: w.gone}, free
	if call == "claim" {
		now = held
	}
	effect, says, _ := strings.Cut(cell, "; ")
	switch effect {
	case "write":
		want = entry{rec: rec, owner: taskA, hold: now}
	case "write, owner and until stay":
		want.rec = rec
	case "write a tombstone":
		want = entry{rec: rec, gone: true}
	case "owner and until":
		want.owner, want.hold = taskA, held
	case "owner and until := 0":
		want.owner, want.hold = "", free
	case "nothing":
	default:
		says = effect
	}
	is := m.records[modelKey(rec)]
	if is == nil {
		is = &entry{rec: was}
	}
	if fmt.Sprint(*is) != fmt.Sprint(want) {
		t.Errorf("the model leaves %+v, the table %+v", *is, want)
	}
	if says = says[strings.LastIndex(says, " ")+1:]; says != state {
		t.Errorf("the model says %q, the table %q", state, says)
	}
}
