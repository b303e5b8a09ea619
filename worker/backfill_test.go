package worker

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"cloudidq/internal/backfill"
	"cloudidq/internal/batch"
	"cloudidq/internal/batch/batchtest"
	"cloudidq/internal/redistest"
	"cloudidq/internal/wechat"
	"cloudidq/store"
	"cloudidq/tasks"
)

// backfillFixture is a fixture: a resolver and a backfill of one chunk.
type backfillFixture struct {
	*resolverFixture
	store *flakyBackfills
	id    string
	p     tasks.ResolvePayload
}

// flakyBackfills fail while away is set.
type flakyBackfills struct {
	*backfill.Store
	away    atomic.Bool
	lookups atomic.Int64 // calls of Canceled
	reports atomic.Int64 // calls of Report
}

var errAway = errors.New("connection refused")

func (f *flakyBackfills) Report(ctx context.Context, id string, chunk int, finished backfill.Counts) error {
	f.reports.Add(1)
	if f.away.Load() {
		return errAway
	}
	return f.Store.Report(ctx, id, chunk, finished)
}

func (f *flakyBackfills) ReportLost(ctx context.Context, id string, chunk int) error {
	if f.away.Load() {
		return errAway
	}
	return f.Store.ReportLost(ctx, id, chunk)
}

func (f *flakyBackfills) Canceled(ctx context.Context, id string) (bool, error) {
	f.lookups.Add(1)
	if f.away.Load() {
		return false, errAway
	}
	return f.Store.Canceled(ctx, id)
}

// newBackfillFixture loads n lines, and one more line that repeats the first.
func newBackfillFixture(t *testing.T, f *batchtest.WeChat, n int) *backfillFixture {
	t.Helper()
	b := &backfillFixture{resolverFixture: newResolverFixture(t, f), id: backfill.NewID()}
	rdb := redistest.Start(t).Client(t)
	b.store = &flakyBackfills{Store: backfill.NewStore(rdb, time.Hour, nil)}
	b.bulk = newBulk(b.store)
	b.p = payloadOf(n, time.Now())
	b.p.Items = append(b.p.Items, b.p.Items[0])
	b.p.Backfill = b.id
	loadChunk(t, b.store.Store, b.id, b.p)
	return b
}

// loadChunk creates a backfill of one chunk.
func loadChunk(t *testing.T, backfills *backfill.Store, id string, p tasks.ResolvePayload) {
	t.Helper()
	l, err := backfills.Create(t.Context(), backfill.Backfill{ID: id, AppID: p.AppID, Format: "ndjson"})
	if err != nil {
		t.Fatal(err)
	}
	ids := make([]string, len(p.Items))
	for i, it := range p.Items {
		ids[i] = it.CloudID
	}
	w := &backfill.Window{To: len(ids), Digest: "d", Checked: time.Now(), Chunks: [][]string{ids}, Accepted: len(ids)}
	_, _, err = backfills.Begin(t.Context(), &l, w)
	if err := errors.Join(err, backfills.Commit(t.Context(), &l, w), backfills.Complete(t.Context(), &l)); err != nil {
		t.Fatal(err)
	}
}

func (b *backfillFixture) run(t *testing.T) error {
	t.Helper()
	return newResolution(b.resolver, tasks.ChunkTaskID(b.id, 0), b.p).process(t.Context(), &place{})
}

func (b *backfillFixture) want(t *testing.T, pending, resolved, failed, expired int) {
	t.Helper()
	got, err := b.store.Get(t.Context(), b.id)
	if err != nil {
		t.Fatal(err)
	}
	if got.Pending != pending || got.Resolved != resolved || got.Failed != failed || got.Expired != expired || got.Finished() != (pending == 0) {
		t.Errorf("%+v, want %d pending, %d resolved, %d failed, %d expired", got, pending, resolved, failed, expired)
	}
}

// Every line counts once, for any number of attempts: a line that repeats a cloudID, one that
// was resolved before, one whose user was erased, and one that needs several attempts.
func TestBackfill_EveryLineCountsOnce(t *testing.T) {
	busy := atomic.Bool{}
	busy.Store(true)
	f := &batchtest.WeChat{Answer: func(req wechat.Request) *wechat.Error {
		switch {
		case req.Items[0].CloudID == "73_001" && busy.Load():
			return &wechat.Error{Class: wechat.ClassRetry, Code: -1, Message: "system error"}
		case req.Items[0].CloudID == "73_002":
			return &wechat.Error{Class: wechat.ClassItem, Code: -601007, Message: "cloudID not belong to user."}
		case req.Items[0].CloudID == "73_003":
			return &wechat.Error{Class: wechat.ClassExpired, Code: -601006, Message: "cloudID expired"}
		}
		return nil
	}}
	b := newBackfillFixture(t, f, 6)
	before := payloadOf(6, time.Now().Add(-time.Minute))
	before.Items = before.Items[4:5]
	if err := b.attempt(t, "another-task", before); err != nil { // 73_004 is resolved before
		t.Fatal(err)
	}
	if _, err := b.results.Erase(t.Context(), testApp, "o5"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if again, ok := errors.AsType[*requeueError](b.run(t)); !ok || again.open != 1 {
			t.Fatalf("run = %v, want one open", again)
		}
		b.want(t, 1, 3, 2, 1)
	}
	busy.Store(false)
	for range 2 {
		if err := b.run(t); err != nil {
			t.Errorf("run = %v", err)
		}
		b.want(t, 0, 4, 2, 1)
	}
	// Another task for the same cloudIDs counts nothing, even if its producer has set
	// the backfill field.
	for _, taskID := range []string{"another-task", "bf_x_0", b.id} {
		if err := newResolution(b.resolver, taskID, b.p).process(t.Context(), &place{}); err != nil {
			t.Errorf("run = %v", err)
		}
	}
	b.want(t, 0, 4, 2, 1)
}

// The task is not acknowledged before its counts are reported. A crash or an outage in between
// leads to another attempt.
func TestBackfill_CountsAreReportedBeforeTheTaskIsDone(t *testing.T) {
	b := newBackfillFixture(t, &batchtest.WeChat{}, 3)
	// The answer is cached for a second, so that run does not query it.
	if _, err := b.bulk.canceled(t.Context(), b.id); err != nil {
		t.Fatal(err)
	}
	b.store.away.Store(true)
	again, ok := errors.AsType[*requeueError](b.run(t))
	if !ok || !again.failure || strings.Contains(again.Error(), "refused") {
		t.Errorf("run = %v, want that the task comes back", again)
	}
	if rec := b.lookup(t, b.p)[0]; rec.Status != store.Resolved {
		t.Errorf("record = %+v", rec)
	}
	b.store.away.Store(false)
	if err := b.run(t); err != nil {
		t.Errorf("run = %v", err)
	}
	b.want(t, 0, 4, 0, 0)
	if n := len(b.wechat.Requests); n != 3 {
		t.Errorf("%d requests, want 3", n)
	}
}

// No request is made for a canceled backfill. Its open cloudIDs fail at once, even while
// the app is paused.
func TestBackfill_Canceled(t *testing.T) {
	b := newBackfillFixture(t, &batchtest.WeChat{}, 3)
	if _, err := b.store.Cancel(t.Context(), b.id); err != nil {
		t.Fatal(err)
	}
	b.batcher.SetBlock(testApp, batch.NewBlock(wechat.ClassQuota, 45009, time.Now().Add(time.Hour)), false)
	if err := b.run(t); err != nil {
		t.Errorf("run = %v, want nil: nothing of it is to be looked into", err)
	}
	b.want(t, 0, 0, 4, 0)
	for _, rec := range b.lookup(t, b.p) {
		if rec.Status != store.Failed || rec.Error.Code != 0 || rec.Error.Message != "its backfill was canceled before it was sent to WeChat" || rec.Attempts != 0 {
			t.Errorf("record = %+v, %+v", rec, rec.Error)
		}
	}
	if n := len(b.wechat.Requests); n != 0 {
		t.Errorf("%d requests, want none", n)
	}
}

// CloudIDs that were finished before the cancellation retain their status. The last answer of
// WeChat stays visible in a canceled one.
func TestBackfill_CanceledInTheMiddle(t *testing.T) {
	f := &batchtest.WeChat{Answer: func(req wechat.Request) *wechat.Error {
		if req.Items[0].CloudID == "73_001" {
			return &wechat.Error{Class: wechat.ClassRetry, Code: -1, Message: "system error"}
		}
		return nil
	}}
	b := newBackfillFixture(t, f, 3)
	if err := b.run(t); err == nil {
		t.Fatal("run = nil, want it to come back")
	}
	if _, err := b.store.Cancel(t.Context(), b.id); err != nil {
		t.Fatal(err)
	}
	b.bulk.seen = map[string]sighting{} // a second later
	if err := b.run(t); err != nil {
		t.Errorf("run = %v", err)
	}
	b.want(t, 0, 3, 1, 0)
	if rec := b.lookup(t, b.p)[1]; rec.Status != store.Failed || rec.Error.Code != -1 || rec.Error.Message != "its backfill was canceled; last answer: system error" {
		t.Errorf("record = %+v, %+v", rec, rec.Error)
	}
}

// The worker queries once a second whether a backfill is canceled. If the query fails, the
// task is requeued.
func TestBackfill_CancellationIsLookedUp(t *testing.T) {
	b := newBackfillFixture(t, &batchtest.WeChat{}, 1)
	for range 5 {
		if canceled, err := b.bulk.canceled(t.Context(), b.id); canceled || err != nil {
			t.Errorf("canceled = %v, %v", canceled, err)
		}
	}
	if n := b.store.lookups.Load(); n != 1 {
		t.Errorf("Canceled was called %d times, want once", n)
	}
	for i := range 3 * maxSeen { // other backfills
		if _, err := b.bulk.canceled(t.Context(), tasks.ChunkTaskID("bf", i)); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(b.bulk.seen); n > maxSeen {
		t.Errorf("%d are remembered", n)
	}
	b.bulk.seen = map[string]sighting{}
	b.store.away.Store(true)
	if again, ok := errors.AsType[*requeueError](b.run(t)); !ok || !again.failure {
		t.Errorf("run = %v, want that the task comes back", again)
	}
	if n := len(b.wechat.Requests); n != 0 {
		t.Errorf("%d requests, want none", n)
	}
}

// An unreadable task of a backfill is counted by its id.
func TestBackfill_Unreadable(t *testing.T) {
	b := newBackfillFixture(t, &batchtest.WeChat{}, 3)
	b.store.away.Store(true)
	if again, ok := errors.AsType[*requeueError](b.unreadable(t.Context(), tasks.ChunkTaskID(b.id, 0), tasks.ErrUnreadable)); !ok {
		t.Errorf("unreadable = %v, want that it comes back", again)
	}
	b.store.away.Store(false)
	for _, id := range []string{tasks.ChunkTaskID(b.id, 0), tasks.ChunkTaskID(b.id, 1), "another-task"} {
		if err := b.unreadable(t.Context(), id, tasks.ErrUnreadable); !errors.Is(err, asynq.SkipRetry) {
			t.Errorf("unreadable(%s) = %v, want archived", id, err)
		}
	}
	b.want(t, 0, 0, 4, 0)
}

// If the records cannot be saved, their counts are not reported.
func TestBackfill_UnsavedDoesNotCount(t *testing.T) {
	b := newBackfillFixture(t, &batchtest.WeChat{}, 3)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	b.results = unsaving{b.results, cancel}
	b.resolver.results = b.results
	r := newResolution(b.resolver, tasks.ChunkTaskID(b.id, 0), b.p)
	err := r.process(ctx, &place{})
	if err == nil || r.resolved != 3 {
		t.Errorf("run = %v, %d resolved", err, r.resolved)
	}
	if got := r.tally(t.Context(), err); !errors.Is(got, err) {
		t.Errorf("tally = %v, want %v", got, err)
	}
	b.want(t, 4, 0, 0, 0)
	if n := b.store.reports.Load(); n != 0 {
		t.Errorf("%d reports, want none", n)
	}
}

// unsaving is a store that saves nothing, and cancels the context of the attempt.
type unsaving struct {
	store.Results
	end context.CancelFunc
}

func (u unsaving) Save(context.Context, string, []store.Record) error {
	u.end()
	return redis.ErrClosed
}
