package store_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"cloudidq/internal/pgtest"
	"cloudidq/internal/redistest"
	"cloudidq/store"
)

const lifetime = 5 * time.Minute

// abandon claims cloudIDs that were accepted some time ago, for a task that then does nothing more.
func abandon(t *testing.T, r store.Results, taskID, endpoint string, ago time.Duration, ids ...string) {
	t.Helper()
	c := store.Claim{AppID: "wxA", TaskID: taskID}
	for _, id := range ids {
		c.Records = append(c.Records, store.Record{
			AppID: "wxA", OpenID: "o1", CloudID: id, Status: store.Pending, Reference: "r",
			AcceptedAt: store.At(time.Now().Add(-ago)), Origin: &store.Origin{TaskID: taskID, Endpoint: endpoint},
		})
	}
	claimed, err := r.Claim(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range claimed {
		if c.State != store.Claimed {
			t.Fatalf("claimed = %+v", c)
		}
	}
}

// A record whose task has vanished is not returned as pending after its lifetime and two minutes. The
// first lookup after that time expires the record once, with its delivery.
func TestTimely_TaskIsGone(t *testing.T) {
	rdb := redistest.Start(t).Client(t)
	deliveries := store.NewDeliveries(rdb)
	relay := func(*testing.T) {}
	stores := map[string]store.Results{"Redis": store.NewRedis(rdb, time.Hour)}
	t.Run("Redis", func(t *testing.T) { testTimely(t, stores["Redis"], deliveries, relay) })
	t.Run("Postgres", func(t *testing.T) {
		rdb.FlushAll(t.Context())
		p, err := store.OpenPostgres(t.Context(), pgtest.Database(t), time.Hour, store.WithOutbox(deliveries))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.Close)
		testTimely(t, p, deliveries, func(t *testing.T) {
			t.Helper()
			if err := p.Relay(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
		})
	})
}

func testTimely(t *testing.T, r store.Results, deliveries *store.Deliveries, relay func(*testing.T)) {
	timely := store.NewTimely(r, lifetime, redisAhead(0), nil)
	due := lifetime + store.OverdueAfter + time.Second
	abandon(t, r, "gone", "orders", due, "overdue-1", "overdue-2")
	abandon(t, r, "alive", "orders", lifetime, "young")
	abandon(t, r, "lost", "orders", due, "claimed")
	other := store.Claim{AppID: "wxA", TaskID: "another", For: time.Hour, Records: []store.Record{{
		AppID: "wxA", OpenID: "o1", CloudID: "claimed", Status: store.Pending, AcceptedAt: store.At(time.Now()),
	}}}
	if _, err := r.Claim(t.Context(), other); err != nil {
		t.Fatal(err)
	}

	ids := []string{"overdue-1", "young", "unknown", "overdue-2", "claimed", "overdue-1"}
	want := []store.Status{store.Expired, store.Pending, "", store.Expired, store.Pending, store.Expired}
	for range 2 {
		records, err := timely.Lookup(t.Context(), "wxA", ids)
		if err != nil {
			t.Fatal(err)
		}
		for i, rec := range records {
			if rec.Status != want[i] {
				t.Errorf("%s is %+v, want %q", ids[i], rec, want[i])
			}
			if rec.Status == store.Expired && (!rec.FinishedAt.Equal(rec.AcceptedAt.Add(lifetime)) || rec.Reference != "r" || rec.Error == nil) {
				t.Errorf("%s = %+v, want it finished at the end of its lifetime, with a reason", ids[i], rec)
			}
		}
	}
	relay(t)
	id, left, err := deliveries.Cut(t.Context(), "wxA", "orders", 100)
	if err != nil || left != 0 {
		t.Fatalf("Cut: %d left, %v", left, err)
	}
	if d, err := deliveries.Load(t.Context(), id); err != nil || len(d.Items) != 2 {
		t.Errorf("%d results are delivered, %v, want each final record once", len(d.Items), err)
	}

	// If its own task returns, it finds the record done. A late resolved record still replaces it.
	again := store.Claim{AppID: "wxA", TaskID: "gone", Records: []store.Record{{
		AppID: "wxA", OpenID: "o1", CloudID: "overdue-1", Status: store.Pending, AcceptedAt: store.At(time.Now()),
	}}}
	if c, err := r.Claim(t.Context(), again); err != nil || c[0].State != store.Done {
		t.Errorf("claimed by its own task: %+v, %v, want it done", c, err)
	}
	late := store.Record{AppID: "wxA", OpenID: "o1", CloudID: "overdue-1", Status: store.Resolved, Data: []byte(`{}`), AcceptedAt: store.At(time.Now())}
	if err := r.Save(t.Context(), "gone", []store.Record{late}); err != nil {
		t.Fatal(err)
	}
	if records, err := timely.Lookup(t.Context(), "wxA", []string{"overdue-1"}); err != nil || records[0].Status != store.Resolved {
		t.Errorf("after a late answer = %+v, %v, want it resolved", records, err)
	}

	// The final status of an earlier request does not answer a later request.
	abandon(t, r, "earlier", "", due, "again")
	before, err := store.FinalsSoFar(t.Context(), timely, "wxA", []string{"again"})
	if err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	records, err := store.Wait(short, timely, "wxA", []string{"again"}, before)
	if !errors.Is(err, context.DeadlineExceeded) || records[0].Status != "" {
		t.Errorf("record = %+v, %v, want it not to answer the later request", records, err)
	}
	if _, err := timely.Erase(t.Context(), "wxA", "o1"); err != nil {
		t.Fatal(err)
	}
	if records, err := timely.Lookup(t.Context(), "wxA", []string{"overdue-2"}); err != nil && !errors.Is(err, store.ErrUnreadable) || records[0].Status != "" {
		t.Errorf("after an erasure = %+v, %v", records, err)
	}
}

// redisAhead returns a clock of Redis that is ahead of this machine's.
func redisAhead(by time.Duration) func(context.Context) (time.Time, error) {
	return func(context.Context) (time.Time, error) { return time.Now().Add(by), nil }
}

// A reader whose clock is ten minutes ahead expires no record of a task that still waits. Workers
// and readers both measure lifetimes by Redis's clock.
func TestTimely_ReaderAhead(t *testing.T) {
	r := store.NewRedis(redistest.Start(t).Client(t), time.Hour)
	const ahead = 10 * time.Minute
	abandon(t, r, "alive", "", ahead, "new") // by Redis's clock it was just accepted
	abandon(t, r, "gone", "", ahead+lifetime+store.OverdueAfter+time.Second, "old")
	timely := store.NewTimely(r, lifetime, redisAhead(-ahead), nil)
	for range 2 {
		records, err := timely.Lookup(t.Context(), "wxA", []string{"new", "old"})
		if err != nil || records[0].Status != store.Pending || records[1].Status != store.Expired {
			t.Errorf("records = %+v, %v, want the new one pending, and the old one expired", records, err)
		}
	}
}

// A record that is completed without its task is delivered in the form that its origin names.
// Without a function for the short form, the record stays pending.
func TestTimely_Thin(t *testing.T) {
	rdb := redistest.Start(t).Client(t)
	r, deliveries := store.NewRedis(rdb, time.Hour), store.NewDeliveries(rdb)
	claim := store.Claim{AppID: "wxA", TaskID: "gone", Records: []store.Record{{
		AppID: "wxA", OpenID: "o1", CloudID: "old", Status: store.Pending, AcceptedAt: store.At(time.Now().Add(-time.Hour)),
		Origin: &store.Origin{TaskID: "gone", Endpoint: "orders", Thin: true},
	}}}
	if _, err := r.Claim(t.Context(), claim); err != nil {
		t.Fatal(err)
	}
	if _, err := store.NewTimely(r, lifetime, redisAhead(0), nil).Lookup(t.Context(), "wxA", []string{"old"}); err == nil {
		t.Error("Lookup without a short form = nil, want an error")
	}
	thin := func(rec *store.Record) json.RawMessage {
		return json.RawMessage(`{"short":"` + rec.CloudID + " " + string(rec.Status) + `"}`)
	}
	records, err := store.NewTimely(r, lifetime, redisAhead(0), thin).Lookup(t.Context(), "wxA", []string{"old"})
	if err != nil || records[0].Status != store.Expired {
		t.Fatalf("Lookup = %+v, %v, want it expired", records, err)
	}
	id, _, err := deliveries.Cut(t.Context(), "wxA", "orders", 10)
	if err != nil {
		t.Fatal(err)
	}
	d, err := deliveries.Load(t.Context(), id)
	if err != nil || len(d.Items) != 1 || string(d.Items[0]) != `{"short":"old expired"}` {
		t.Errorf("delivered: %s, %v, want the short form", d.Items, err)
	}
}

// Timely reads Redis's clock only if a record is overdue. If Redis does not answer, no record
// expires.
func TestTimely_ReadsTheClockOnlyIfOverdue(t *testing.T) {
	r := store.NewRedis(redistest.Start(t).Client(t), time.Hour)
	reads, away := 0, errors.New("away")
	timely := store.NewTimely(r, lifetime, func(context.Context) (time.Time, error) { reads++; return time.Time{}, away }, nil)
	abandon(t, r, "alive", "", time.Minute, "young")
	if _, err := timely.Lookup(t.Context(), "wxA", []string{"young", "unknown"}); err != nil || reads != 0 {
		t.Errorf("%v, %d reads of the clock with nothing overdue, want none", err, reads)
	}
	abandon(t, r, "gone", "", time.Hour, "old")
	if _, err := timely.Lookup(t.Context(), "wxA", []string{"old"}); !errors.Is(err, away) || reads != 1 {
		t.Errorf("%v, %d reads of the clock, want one read and its error", err, reads)
	}
	if records, err := r.Lookup(t.Context(), "wxA", []string{"old"}); err != nil || records[0].Status != store.Pending {
		t.Errorf("record = %+v, %v, want it pending", records[0], err)
	}
}
