package storetest

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"cloudidq/store"
)

// Drain removes all results from the outbox of an endpoint and returns them in order.
type Drain = func(ctx context.Context, appID, endpoint string) ([]json.RawMessage, error)

// RunOutbox checks a store that delivers against the rules: its outbox gets every final record
// that was written, once.
func RunOutbox(t *testing.T, results store.Results, drain Drain) {
	t.Helper()
	anyCalls(t, results, drain)
}

// anyCalls makes random calls of a few tasks on a few cloudIDs of two apps, and compares every
// answer with the model's. drain is nil for a store that delivers nothing.
func anyCalls(t *testing.T, results store.Results, drain Drain) {
	rapid.Check(t, func(rt *rapid.T) {
		m := &machine{tb: t, results: results, drain: drain, model: newModel(), accepted: map[acceptance]store.Time{}}
		for i := range m.apps { // new apps for each run, because all runs share the store
			m.apps[i] = "wx" + rand.Text()
		}
		calls := map[string]func(*rapid.T){"claim": m.claim, "save": m.save, "lookup": m.lookup, "erase": m.erase}
		if drain != nil {
			calls["drain"] = m.drainAll
		}
		rt.Repeat(calls)
		m.lookup(rt)
		if drain != nil {
			m.drainAll(rt)
		}
	})
}

// machine holds the store and its model side by side.
type machine struct {
	tb      testing.TB
	results store.Results
	drain   Drain
	model   model
	apps    [2]string
	calls   int // makes every record unique

	// A task accepts a cloudID once, so all its records of the cloudID have one AcceptedAt.
	accepted map[acceptance]store.Time
}

type acceptance struct{ task, app, id string }

var (
	anyTask        = rapid.SampledFrom([]string{taskA, taskB, "task-c"})
	anyIDs         = rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"1", "2", "3", "4"}), 1, 4, rapid.ID[string])
	anyClaimStatus = rapid.SampledFrom([]claimStatus{claimed, claimed, lapsed})
	anyStatus      = rapid.SampledFrom([]store.Status{store.Pending, store.Pending, store.Failed, store.Expired, store.Resolved})
)

func (m *machine) claim(rt *rapid.T) {
	task, status := anyTask.Draw(rt, "task"), anyClaimStatus.Draw(rt, "claim")
	c := store.Claim{AppID: rapid.SampledFrom(m.apps[:]).Draw(rt, "app"), TaskID: task, For: time.Hour}
	if status == lapsed {
		c.For = -time.Hour
	}
	var want []store.ClaimResult
	for _, id := range anyIDs.Draw(rt, "ids") {
		rec := m.record(rt, task, c.AppID, id, store.Pending)
		c.Records = append(c.Records, rec)
		want = append(want, m.model.claim(task, status, rec))
	}
	got, err := m.results.Claim(m.tb.Context(), c)
	m.compare(rt, "Claim", err, want, got)
}

func (m *machine) save(rt *rapid.T) {
	task := anyTask.Draw(rt, "task")
	var records []store.Record
	for _, app := range m.apps {
		if len(records) > 0 && rapid.Bool().Draw(rt, "one app only") {
			break
		}
		for _, id := range anyIDs.Draw(rt, "ids") {
			rec := m.record(rt, task, app, id, anyStatus.Draw(rt, "status"))
			if m.drain != nil && rapid.Bool().Draw(rt, "delivered") {
				rec.Deliver = store.Outlet{Endpoint: outlet}
			}
			records = append(records, rec)
			m.model.save(task, rec)
		}
	}
	m.compare(rt, "Save", m.results.Save(m.tb.Context(), task, records), nil, nil)
}

// outlet is the endpoint for final records.
const outlet = "orders"

// drainAll compares everything that waits for delivery.
func (m *machine) drainAll(rt *rapid.T) {
	for _, app := range m.apps {
		items, err := m.drain(m.tb.Context(), app, outlet)
		got := []store.Record{}
		for _, item := range items {
			var rec store.Record
			if err := json.Unmarshal(item, &rec); err != nil {
				rt.Fatal(err)
			}
			got = append(got, rec)
		}
		m.compare(rt, "the outbox", err, append([]store.Record{}, m.model.outbox[app]...), got)
		delete(m.model.outbox, app)
	}
}

// lookup compares everything that is stored.
func (m *machine) lookup(rt *rapid.T) {
	for _, app := range m.apps {
		ids := []string{"1", "2", "3", "4"}
		var want []store.Record
		for _, id := range ids {
			want = append(want, m.model.lookup(app, id))
		}
		got, err := m.results.Lookup(m.tb.Context(), app, ids)
		m.compare(rt, "Lookup", err, want, got)
	}
}

// anyUser draws the user of a cloudID for each call. Empty means no user.
var anyUser = rapid.SampledFrom([]string{"oA", "oA", "oB", ""})

func (m *machine) erase(rt *rapid.T) {
	app, openID := rapid.SampledFrom(m.apps[:]).Draw(rt, "app"), rapid.SampledFrom([]string{"oA", "oB", "oC"}).Draw(rt, "openid")
	want := m.model.erase(app, openID)
	got, err := m.results.Erase(m.tb.Context(), app, openID)
	m.compare(rt, "Erase", err, want, got)
}

// record returns a record that differs from those of all other calls.
func (m *machine) record(rt *rapid.T, task, app, id string, status store.Status) store.Record {
	m.calls++
	r := store.Record{AppID: app, OpenID: anyUser.Draw(rt, "openid"), CloudID: id, Status: status, Attempts: m.calls}
	r.AcceptedAt = m.acceptedAt(rt, acceptance{task, app, id})
	if status.Final() {
		r.FinishedAt = finished
		r.Error = &store.Error{Code: m.calls, Message: "no"}
	}
	if status == store.Resolved {
		r.Error, r.Data = nil, json.RawMessage(fmt.Sprintf(`{"n":%d}`, m.calls))
	}
	return r
}

// acceptedAt draws whether the task accepted the cloudID before or after any erasure.
func (m *machine) acceptedAt(rt *rapid.T, a acceptance) store.Time {
	at, drawn := m.accepted[a]
	if !drawn {
		at = accepted
		if rapid.IntRange(0, 3).Draw(rt, "later") == 0 {
			at = store.At(time.Now().Add(time.Hour))
		}
		m.accepted[a] = at
	}
	return at
}

func (m *machine) compare(rt *rapid.T, what string, err error, want, got any) {
	rt.Helper()
	if err != nil {
		rt.Fatalf("%s: %v", what, err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		rt.Fatalf("%s (-model +store):\n%s", what, diff)
	}
}
