// Package storetest holds the rules that every [store.Results] must pass.
//
//	func TestRedis(t *testing.T) {
//		storetest.Run(t, func(t *testing.T, ttl time.Duration) store.Results { … })
//	}
//
// Every rule is a subtest with its own name and its own appid, so one database can serve all of
// them. In addition, a state machine makes random calls and compares the store with a model
// (model.go).
package storetest

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cloudidq/store"
)

// Open returns a store whose records expire after ttl. It registers the closing of the store
// with t.Cleanup. It may return a store over the same database each time. The store's clock
// must advance by itself.
type Open = func(t *testing.T, ttl time.Duration) store.Results

// Run checks the store that open returns against the rules of package store.
func Run(t *testing.T, open Open) {
	t.Helper()
	for _, group := range []map[string]func(*suite){claimRules, saveRules, callRules, eraseRules, ownerRules, concurrentRules} {
		for name, rule := range group {
			t.Run(name, func(t *testing.T) { rule(newSuite(t, open, time.Hour)) })
		}
	}
	t.Run("TTLAlwaysSet", func(t *testing.T) { ttlAlwaysSet(newSuite(t, open, time.Second)) })
	t.Run("TTLOfFailed_NotRenewedByClaim", func(t *testing.T) { ttlNotRenewed(newSuite(t, open, 2*time.Second)) })
	t.Run("AnyCalls_AsTheModel", func(t *testing.T) { anyCalls(t, open(t, time.Hour), nil) })
}

// suite is one subtest: a store, its own app, and calls that fail the test on an error.
type suite struct {
	*testing.T
	results store.Results
	app     string
}

func newSuite(t *testing.T, open Open, ttl time.Duration) *suite {
	t.Helper()
	return &suite{T: t, results: open(t, ttl), app: "wx" + rand.Text()}
}

// The tasks and the cloudID that most rules use.
const (
	taskA = "task-a"
	taskB = "task-b"
	id    = "73_one"
)

var (
	accepted = store.At(time.Date(2024, 11, 22, 8, 0, 0, int(123*time.Millisecond), time.UTC))
	finished = store.At(accepted.Add(1500 * time.Millisecond))
)

func (s *suite) pending(id string) store.Record {
	return store.Record{AppID: s.app, OpenID: "o-1", CloudID: id, Status: store.Pending, AcceptedAt: accepted}
}

func (s *suite) resolved(id, data string) store.Record {
	r := s.pending(id)
	r.Status, r.Kind, r.Data, r.Attempts, r.FinishedAt = store.Resolved, "werun", json.RawMessage(data), 1, finished
	return r
}

func (s *suite) failed(id, message string) store.Record {
	r := s.pending(id)
	r.Status, r.Attempts, r.FinishedAt = store.Failed, 2, finished
	r.Error = &store.Error{Code: -601007, Message: message, RID: "6a-7b"}
	return r
}

func (s *suite) expired(id string) store.Record {
	r := s.failed(id, "cloudID expired")
	r.Status, r.Error.Code = store.Expired, -601006
	return r
}

// claim claims cloudIDs for an hour.
func (s *suite) claim(task string, ids ...string) []store.ClaimResult {
	s.Helper()
	return s.claimFor(time.Hour, task, ids...)
}

// lapsed claims cloudIDs with a claim that lapses at once.
func (s *suite) lapsed(task string, ids ...string) {
	s.Helper()
	s.claimFor(-time.Second, task, ids...)
}

func (s *suite) claimFor(length time.Duration, task string, ids ...string) []store.ClaimResult {
	s.Helper()
	c := store.Claim{AppID: s.app, TaskID: task, For: length}
	for _, id := range ids {
		c.Records = append(c.Records, s.pending(id))
	}
	got, err := s.results.Claim(s.Context(), c)
	if err != nil {
		s.Fatalf("Claim of %d for %s: %v", len(ids), task, err)
	}
	if len(got) != len(ids) {
		s.Fatalf("Claim of %d for %s = %d results", len(ids), task, len(got))
	}
	return got
}

func (s *suite) save(task string, records ...store.Record) {
	s.Helper()
	if err := s.results.Save(s.Context(), task, records); err != nil {
		s.Fatalf("Save of %d for %s: %v", len(records), task, err)
	}
}

func (s *suite) lookup(ids ...string) []store.Record {
	s.Helper()
	got, err := s.results.Lookup(s.Context(), s.app, ids)
	if err != nil {
		s.Fatalf("Lookup of %d: %v", len(ids), err)
	}
	if len(got) != len(ids) {
		s.Fatalf("Lookup of %d = %d records", len(ids), len(got))
	}
	return got
}

// wantClaim claims the cloudID id for task and compares the result.
func (s *suite) wantClaim(task string, state store.ClaimState, rec store.Record) {
	s.Helper()
	want := []store.ClaimResult{{State: state, Record: rec}}
	if diff := cmp.Diff(want, s.claim(task, id)); diff != "" {
		s.Errorf("Claim for %s (-want +got):\n%s", task, diff)
	}
}

// wantStored looks up the records' cloudIDs and compares the results with records.
func (s *suite) wantStored(records ...store.Record) {
	s.Helper()
	ids := make([]string, len(records))
	for i, r := range records {
		ids[i] = r.CloudID
	}
	if diff := cmp.Diff(records, s.lookup(ids...)); diff != "" {
		s.Errorf("Lookup (-want +got):\n%s", diff)
	}
}

// eventually polls until ok returns true, for as long as a busy machine may need.
func (s *suite) eventually(what string, ok func() bool) {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			s.Fatalf("timed out waiting: %s", what)
		}
	}
}
