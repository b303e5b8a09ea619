package worker

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"cloudidq/internal/backfill"
	"cloudidq/internal/batch"
	"cloudidq/internal/batch/batchtest"
	"cloudidq/internal/redistest"
	"cloudidq/internal/wechat"
	"cloudidq/store"
	"cloudidq/tasks"
)

// If another tool deletes a task between two attempts, its cloudIDs do not stay pending. They
// get the status expired, once, and are delivered. No look-up by a user is needed.
func TestVanished_BetweenTwoAttempts(t *testing.T) {
	b := newResolverFixture(t, &batchtest.WeChat{Answer: func(req wechat.Request) *wechat.Error {
		if req.Items[0].CloudID == "73_000" {
			return nil
		}
		return &wechat.Error{Class: wechat.ClassRetry, Code: -1, Message: "system error"}
	}})
	rdb := redistest.Start(t).Client(t)
	deliveries := store.NewDeliveries(rdb)
	b.resolver.results = store.NewRedis(rdb, time.Hour)
	b.open = store.NewOpenTasks(rdb)
	b.outlets = outletsOf(nil, func(string) string { return "orders" })
	p := payloadOf(3, time.Now().Add(-3*time.Minute))
	r := newResolution(b.resolver, "gone", p)
	err := r.process(t.Context(), &place{})
	if _, again := errors.AsType[*requeueError](err); !again {
		t.Fatalf("the attempt = %v, want two cloudIDs left open", err)
	}
	b.noteOpen(t.Context(), r, err)

	// With this lifetime, the records are overdue.
	timely := store.NewTimely(b.resolver.results, time.Second, rightClock, nil)
	v := newVanished(b.resolver, Parts{Queue: rdb, Open: b.open, Results: timely, Log: slog.New(slog.DiscardHandler)})
	look := func(now time.Time, want ...store.Status) {
		t.Helper()
		if err := v.finishOverdue(t.Context(), now); err != nil {
			t.Fatal(err)
		}
		records, err := b.resolver.results.Lookup(t.Context(), testApp, []string{"73_000", "73_001", "73_002"})
		for i, rec := range records {
			if rec.Status != want[i] {
				t.Errorf("record %d = %+v, %v, want %s", i, rec, err, want[i])
			}
		}
	}
	look(time.Now(), store.Resolved, store.Pending, store.Pending) // not overdue yet
	later := time.Now().Add(time.Hour)
	look(later, store.Resolved, store.Expired, store.Expired)
	look(later, store.Resolved, store.Expired, store.Expired)
	if due, err := b.open.Due(t.Context(), later, 10); err != nil || len(due) != 0 {
		t.Errorf("due = %+v, %v, want nothing to be left", due, err)
	}
	id, _, err := deliveries.Cut(t.Context(), testApp, "orders", 10)
	if err != nil {
		t.Fatal(err)
	}
	if d, err := deliveries.Load(t.Context(), id); err != nil || len(d.Items) != 3 {
		t.Errorf("%d results are delivered, %v, want 3", len(d.Items), err)
	}
}

// A backfill whose tasks are gone finishes. The open cloudIDs of these tasks expire and are
// counted, even if no attempt was ever made. A chunk whose task exists is left to that task.
func TestVanished_ChunksOfABackfill(t *testing.T) {
	b := newFinishFixture(t)
	gone, there := backfill.NewID(), backfill.NewID()
	p := payloadOf(3, time.Now())
	loadChunk(t, b.backfills, gone, p)
	other := payloadOf(2, time.Now())
	other.Items[0].CloudID, other.Items[1].CloudID = "73_other_0", "73_other_1"
	loadChunk(t, b.backfills, there, other)
	b.enqueue(t, tasks.QueueBackfill, tasks.ChunkTaskID(there, 0), other, asynq.ProcessIn(time.Hour))
	b.resolver.lifetime = time.Nanosecond
	v := newVanished(b.resolver, Parts{Queue: b.rdb, Backfills: b.backfills, Results: b.results, Log: b.log})
	v.lifetime = 5 * time.Minute

	counts := func(id string) backfill.Backfill {
		t.Helper()
		of, err := b.backfills.Get(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		return of
	}
	if err := v.finishStalled(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	if of := counts(gone); of.Pending != 3 {
		t.Errorf("backfill = %+v, want it left alone while its cloudIDs may live", of)
	}
	for range 2 {
		if err := v.finishStalled(t.Context(), time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	if of := counts(gone); of.Expired != 3 || !of.Finished() {
		t.Errorf("backfill = %+v, want it finished with 3 expired", of)
	}
	if of := counts(there); of.Pending != 2 {
		t.Errorf("backfill = %+v, want it left to its task", of)
	}
	for _, rec := range b.records(t, p) {
		if rec.Status != store.Expired {
			t.Errorf("record = %+v, want it expired", rec)
		}
	}
	if n := b.delivered(t); n != 3 {
		t.Errorf("%d results are delivered, want 3", n)
	}
	count := &counted{}
	b.rdb.AddHook(count)
	if err := v.finishStalled(t.Context(), time.Now().Add(time.Hour)); err != nil || count.n > 2 {
		t.Errorf("%d commands, %v, want one list and one backfill", count.n, err)
	}
}

// A task of a paused app makes no attempt, and still gets records, which note when its lifetime
// began. So its cloudIDs are found too if the task vanishes.
func TestVanished_BeforeTheFirstAttempt(t *testing.T) {
	b := newResolverFixture(t, &batchtest.WeChat{})
	b.open = store.NewOpenTasks(redistest.Start(t).Client(t))
	b.batcher.SetBlock(testApp, batch.NewBlock(wechat.ClassQuota, 45009, time.Now().Add(time.Hour)), false)
	r := newResolution(b.resolver, "gone", acceptedAt(time.Time{}))
	b.noteOpen(t.Context(), r, r.process(t.Context(), &place{}))
	due, err := b.open.Due(t.Context(), time.Now().Add(time.Hour), 10)
	if err != nil || len(due) != 1 || len(due[0].CloudIDs) != 1 {
		t.Errorf("noted = %+v, %v, want the one cloudID", due, err)
	}
}

// rightClock returns this machine's time. In this test it equals Redis's time.
func rightClock(context.Context) (time.Time, error) { return time.Now(), nil }
