package backfill_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"cloudidq/internal/backfill"
	"cloudidq/internal/redistest"
	"cloudidq/internal/seal/sealtest"
)

// storeFixture is the state of one backfill in a real Redis, sealed.
type storeFixture struct {
	*testing.T
	rdb *redis.Client
	*backfill.Store
	id string
}

func newStoreFixture(t *testing.T) *storeFixture {
	t.Helper()
	keyset, _, _ := sealtest.Keysets(t)
	rdb := redistest.Start(t).Client(t)
	return &storeFixture{T: t, rdb: rdb, Store: backfill.NewStore(rdb, time.Hour, keyset),
		id: backfill.NewID()}
}

func (b *storeFixture) create() backfill.Loading {
	b.Helper()
	l, err := b.Create(b.Context(), backfill.Backfill{ID: b.id, AppID: "wx1", Webhook: "orders", Format: "ndjson"})
	if err != nil {
		b.Fatal(err)
	}
	return l
}

// window returns the next window: chunks of the given sizes, followed by rejects.
func window(l *backfill.Loading, rejected int, chunks ...int) *backfill.Window {
	from := l.Backfill.Lines
	w := &backfill.Window{Checked: time.UnixMilli(1795390345000), Rejected: rejected}
	for i, n := range chunks {
		ids := make([]string, n)
		for j := range ids {
			ids[j] = fmt.Sprintf("73_PLANTED_%d_%d_%d", from, i, j)
		}
		w.Chunks, w.Accepted = append(w.Chunks, ids), w.Accepted+n
	}
	w.To = from + w.Accepted + rejected
	for i := range rejected {
		w.Rejects = append(w.Rejects, backfill.Reject{Line: from + w.Accepted + i + 1, Error: "is not JSON"})
	}
	w.Digest = fmt.Sprintf("%032x", w.To)
	return w
}

func (b *storeFixture) begin(
	l *backfill.Loading, w *backfill.Window,
) (finished []bool, committed bool) {
	b.Helper()
	finished, committed, err := b.Begin(b.Context(), l, w)
	if err != nil {
		b.Fatal(err)
	}
	return finished, committed
}

func (b *storeFixture) load(l *backfill.Loading, w *backfill.Window) {
	b.Helper()
	b.begin(l, w)
	if err := b.Commit(b.Context(), l, w); err != nil {
		b.Fatal(err)
	}
}

func (b *storeFixture) report(chunk int, counts backfill.Counts) {
	b.Helper()
	if err := b.Report(b.Context(), b.id, chunk, counts); err != nil {
		b.Fatal(err)
	}
}

// want compares state and counts: lines, accepted, rejected, pending, resolved, failed,
// expired.
func (b *storeFixture) want(state backfill.State, finished bool, counts ...int) {
	b.Helper()
	got, err := b.Get(b.Context(), b.id)
	if err != nil {
		b.Fatal(err)
	}
	is := []int{got.Lines, got.Accepted, got.Rejected, got.Pending, got.Resolved, got.Failed, got.Expired}
	if diff := cmp.Diff(counts, is); diff != "" || got.State != state || got.Finished() != finished {
		b.Errorf("state %s, finished %v, want %s, %v; counts (-want +got):\n%s", got.State, got.Finished(), state, finished, diff)
	}
}

// A backfill goes from open to complete to finished, and repeated calls change nothing.
func TestBackfill_Lifecycle(t *testing.T) {
	b := newStoreFixture(t)
	l := b.create()
	if l.Begun != nil || l.Backfill.State != backfill.Open || l.Backfill.AppID != "wx1" || l.Backfill.Webhook != "orders" || l.Backfill.CreatedAt.IsZero() {
		t.Errorf("Create = %+v", l)
	}
	w := window(&l, 2, 100, 30)
	finished, committed := b.begin(&l, w)
	if diff := cmp.Diff([]bool{false, false}, finished); diff != "" || committed {
		t.Errorf("Begin: %v, %v", finished, committed)
	}
	b.report(1, backfill.Counts{Resolved: 20, Failed: 10}) // before the commit
	b.want(backfill.Open, false, 0, 0, 0, 0, 0, 0, 0)
	if finished, _ := b.begin(&l, w); !finished[1] || finished[0] {
		t.Errorf("Begin again: %v, want the second chunk to be finished", finished)
	}
	before := l
	if err := b.Commit(t.Context(), &l, w); err != nil {
		t.Fatal(err)
	}
	b.want(backfill.Open, false, 132, 130, 2, 100, 20, 10, 0)

	// Both steps are repeated, as after lost answers.
	if _, committed, err := b.Begin(t.Context(), &before, w); err != nil || !committed {
		t.Errorf("Begin of a committed window = %v, %v, want committed", committed, err)
	}
	if err := b.Commit(t.Context(), &before, w); err != nil || before.Backfill != l.Backfill {
		t.Errorf("Commit again = %v", err)
	}
	b.want(backfill.Open, false, 132, 130, 2, 100, 20, 10, 0)

	b.load(&l, window(&l, 0, 7))
	for range 2 {
		if err := b.Complete(t.Context(), &l); err != nil {
			t.Fatal(err)
		}
	}
	b.want(backfill.Complete, false, 139, 137, 2, 107, 20, 10, 0)
	b.report(0, backfill.Counts{Resolved: 50, Expired: 1})
	b.report(0, backfill.Counts{Resolved: 40}) // late, with lower counts
	b.report(2, backfill.Counts{Resolved: 7})
	b.want(backfill.Complete, false, 139, 137, 2, 49, 77, 10, 1)
	for range 2 {
		b.report(0, backfill.Counts{Resolved: 99, Expired: 1})
	}
	b.want(backfill.Complete, true, 139, 137, 2, 0, 126, 10, 1)

	rejects, err := b.Rejects(t.Context(), b.id, 0, 10)
	want := []backfill.Reject{{Line: 131, Error: "is not JSON"}, {Line: 132, Error: "is not JSON"}}
	if diff := cmp.Diff(want, rejects); diff != "" || err != nil {
		t.Errorf("Rejects: %v (-want +got):\n%s", err, diff)
	}
	marks, err := b.Marks(t.Context(), b.id, 1, 10)
	if diff := cmp.Diff([]backfill.Mark{{Lines: 139, Digest: fmt.Sprintf("%032x", 139)}}, marks); diff != "" || err != nil {
		t.Errorf("Marks: %v (-want +got):\n%s", err, diff)
	}
	first, more, err := b.CloudIDs(t.Context(), &l.Backfill, 0, 2)
	rest, none, err2 := b.CloudIDs(t.Context(), &l.Backfill, 2, 2)
	if errors.Join(err, err2) != nil || !more || none || len(first) != 130 || len(rest) != 7 || first[100] != w.Chunks[1][0] {
		t.Errorf("CloudIDs: %d and %d, %v and %v", len(first), len(rest), err, err2)
	}
}

// A later attempt may count an erased user's status in another way. The sum stays right.
func TestBackfill_CountsNeverFallNorExceed(t *testing.T) {
	b := newStoreFixture(t)
	l := b.create()
	b.load(&l, window(&l, 0, 3, 2))
	if err := b.Complete(t.Context(), &l); err != nil {
		t.Fatal(err)
	}
	b.report(0, backfill.Counts{Resolved: 2})
	b.report(0, backfill.Counts{Failed: 2, Expired: 1})
	b.want(backfill.Complete, false, 5, 5, 0, 2, 2, 1, 0)
	b.report(1, backfill.Counts{Expired: 1})
	if err := b.ReportLost(t.Context(), b.id, 1); err != nil {
		t.Fatal(err)
	}
	b.want(backfill.Complete, true, 5, 5, 0, 0, 2, 2, 1)
	// A report for an unknown chunk or backfill counts nothing.
	b.report(2, backfill.Counts{Resolved: 5})
	for _, id := range []string{"", "of another producer", backfill.NewID()} {
		if err := errors.Join(b.Report(t.Context(), id, 0, backfill.Counts{Resolved: 1}), b.ReportLost(t.Context(), id, 0)); err != nil {
			t.Errorf("Report for %q = %v", id, err)
		}
		if canceled, err := b.Canceled(t.Context(), id); canceled || err != nil {
			t.Errorf("Canceled(%q) = %v, %v", id, canceled, err)
		}
	}
	b.want(backfill.Complete, true, 5, 5, 0, 0, 2, 2, 1)
	if keys := b.rdb.Keys(t.Context(), "*").Val(); len(keys) != 5 {
		t.Errorf("keys = %v, want those of the backfill, its marks and two chunks, and the list", keys)
	}
}

// Of two clients, the later one continues.
func TestBackfill_Superseded(t *testing.T) {
	b := newStoreFixture(t)
	first := b.create()
	w := window(&first, 0, 10)
	b.begin(&first, w)
	second, err := b.Resume(t.Context(), b.id)
	if err != nil || second.Begun == nil || second.Begun.To != 10 || second.Begun.Digest != w.Digest || !second.Begun.Checked.Equal(w.Checked) {
		t.Fatalf("Resume = %+v, %v, want the window that was begun", second.Begun, err)
	}
	if err := b.Commit(t.Context(), &first, w); !errors.Is(err, backfill.ErrSuperseded) {
		t.Errorf("Commit of the first = %v, want ErrSuperseded", err)
	}
	if _, _, err := b.Begin(t.Context(), &first, w); !errors.Is(err, backfill.ErrSuperseded) {
		t.Errorf("Begin of the first = %v, want ErrSuperseded", err)
	}
	if err := b.Complete(t.Context(), &first); !errors.Is(err, backfill.ErrSuperseded) {
		t.Errorf("Complete of the first = %v, want ErrSuperseded", err)
	}
	// Other lines than the begun ones, or the same lines in other chunks, are rejected.
	if _, _, err := b.Begin(t.Context(), &second, window(&second, 0, 11)); !errors.Is(err, backfill.ErrDiffers) {
		t.Errorf("Begin of other lines = %v, want ErrDiffers", err)
	}
	if _, _, err := b.Begin(t.Context(), &second, window(&second, 0, 5, 5)); !errors.Is(err, backfill.ErrDiffers) {
		t.Errorf("Begin of other chunks = %v, want ErrDiffers", err)
	}
	if err := b.Complete(t.Context(), &second); !errors.Is(err, backfill.ErrDiffers) {
		t.Errorf("Complete with a begun window = %v, want ErrDiffers", err)
	}
	b.load(&second, w)
	if err := b.Commit(t.Context(), &second, window(&second, 0, 1)); !errors.Is(err, backfill.ErrDiffers) {
		t.Errorf("Commit of a window that was not begun = %v, want ErrDiffers", err)
	}
	b.want(backfill.Open, false, 10, 10, 0, 10, 0, 0, 0)

	// A repeated Create continues the backfill. Under another app it leaves the backfill as it
	// is.
	third := b.create()
	if third.Backfill.Lines != 10 {
		t.Errorf("Create again = %+v", third.Backfill)
	}
	other, err := b.Create(t.Context(), backfill.Backfill{ID: b.id, AppID: "wx2", Webhook: "orders", Format: "ndjson"})
	if err != nil || other.Backfill.AppID != "wx1" {
		t.Errorf("Create for another app = %+v, %v", other.Backfill, err)
	}
	b.load(&third, window(&third, 0, 1))
}

// A canceled backfill accepts no new window.
func TestBackfill_Cancel(t *testing.T) {
	b := newStoreFixture(t)
	l := b.create()
	b.load(&l, window(&l, 0, 10))
	w := window(&l, 0, 5)
	b.begin(&l, w)
	got, err := b.Cancel(t.Context(), b.id)
	if err != nil || got.State != backfill.Canceled || got.Pending != 10 {
		t.Errorf("Cancel = %+v, %v", got, err)
	}
	if canceled, err := b.Canceled(t.Context(), b.id); !canceled || err != nil {
		t.Errorf("Canceled = %v, %v", canceled, err)
	}
	b.report(0, backfill.Counts{Failed: 10})
	b.want(backfill.Canceled, true, 10, 10, 0, 0, 0, 10, 0)
	done := map[string]bool{}
	if found, err := b.Stalled(t.Context(), time.Now().Add(-time.Hour), done); len(found) != 0 || err != nil {
		t.Errorf("Stalled = %v, %v, want none: it is finished", found, err)
	}
	// The tasks of the begun window are enqueued, so it can still be committed. Nothing else
	// can.
	if err := b.Commit(t.Context(), &l, w); err != nil {
		t.Errorf("Commit = %v", err)
	}
	b.want(backfill.Canceled, false, 15, 15, 0, 5, 0, 10, 0)
	if found, err := b.Stalled(t.Context(), time.Now().Add(time.Hour), done); len(found) != 1 || err != nil {
		t.Errorf("Stalled = %v, %v, want the backfill: lines came after it was finished", found, err)
	}
	if _, _, err := b.Begin(t.Context(), &l, window(&l, 0, 1)); !errors.Is(err, backfill.ErrCanceled) {
		t.Errorf("Begin = %v, want ErrCanceled", err)
	}
	if err := b.Complete(t.Context(), &l); !errors.Is(err, backfill.ErrCanceled) {
		t.Errorf("Complete = %v, want ErrCanceled", err)
	}
	b.report(1, backfill.Counts{Failed: 5})
	b.want(backfill.Canceled, true, 15, 15, 0, 0, 0, 15, 0)
	if found, err := b.Stalled(t.Context(), time.Now().Add(time.Hour), done); len(found) != 0 || !done[b.id] || err != nil {
		t.Errorf("Stalled = %v, %v, done %t, want it done", found, err, done[b.id])
	}

	// Cancel leaves a finished backfill as it is.
	b.id = backfill.NewID()
	l = b.create()
	if err := b.Complete(t.Context(), &l); err != nil {
		t.Fatal(err)
	}
	b.want(backfill.Complete, true, 0, 0, 0, 0, 0, 0, 0)
	if got, err := b.Cancel(t.Context(), b.id); err != nil || got.State != backfill.Complete {
		t.Errorf("Cancel = %+v, %v", got, err)
	}
	if _, _, err := b.Begin(t.Context(), &l, window(&l, 0, 1)); !errors.Is(err, backfill.ErrComplete) {
		t.Errorf("Begin = %v, want ErrComplete", err)
	}
}

// Unknown and expired backfills are ErrNotFound.
func TestBackfill_Unknown(t *testing.T) {
	b := newStoreFixture(t)
	for _, id := range []string{"", "planted", "bf_", b.id, b.id + ":c:0", "bf_ABCDEFGHIJKLMNOPQRSTUVWXYZ"} {
		_, get := b.Get(t.Context(), id)
		_, resume := b.Resume(t.Context(), id)
		_, cancel := b.Cancel(t.Context(), id)
		for _, err := range []error{get, resume, cancel} {
			if !errors.Is(err, backfill.ErrNotFound) {
				t.Errorf("%q: %v, want ErrNotFound", id, err)
			}
		}
	}
	l := b.create()
	b.rdb.FlushAll(t.Context())
	w := window(&l, 0, 1)
	_, _, begin := b.Begin(t.Context(), &l, w)
	for _, err := range []error{begin, b.Commit(t.Context(), &l, w), b.Complete(t.Context(), &l)} {
		if !errors.Is(err, backfill.ErrNotFound) {
			t.Errorf("%v, want ErrNotFound once its retention is over", err)
		}
	}
}

// Only the first 10,000 rejects are stored, but all are counted.
func TestBackfill_RejectsAreBounded(t *testing.T) {
	b := newStoreFixture(t)
	l := b.create()
	for range 3 {
		b.load(&l, window(&l, 4000, 1))
	}
	b.want(backfill.Open, false, 12_003, 3, 12_000, 3, 0, 0, 0)
	rejects, err := b.Rejects(t.Context(), b.id, 9_990, 100)
	if err != nil || len(rejects) != 10 || rejects[9].Line != 10_003 { // three lines were accepted
		t.Errorf("Rejects = %v, %v, want the first 10,000", rejects, err)
	}
}

// Latest returns the newest backfills first and omits those whose retention is over.
func TestBackfills_Latest(t *testing.T) {
	t.Parallel()
	rdb := redistest.Start(t).Client(t)
	b := backfill.NewStore(rdb, time.Hour, nil)
	if list, err := b.Latest(t.Context(), 10); err != nil || len(list) != 0 {
		t.Errorf("Latest = %v, %v, want none", list, err)
	}
	var ids []string
	for i := range 3 {
		id := backfill.NewID()
		if _, err := b.Create(t.Context(), backfill.Backfill{ID: id, AppID: fmt.Sprint("wx", i), Format: "ndjson"}); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
		time.Sleep(2 * time.Millisecond) // the list is ordered by milliseconds
	}
	// As after the end of its retention.
	if err := rdb.Del(t.Context(), "cloudidq:{backfill}:"+ids[1]).Err(); err != nil {
		t.Fatal(err)
	}
	list, err := b.Latest(t.Context(), 10)
	if err != nil || len(list) != 2 || list[0].ID != ids[2] || list[1].ID != ids[0] || list[1].AppID != "wx0" {
		t.Errorf("Latest = %+v, %v, want the last one and the first", list, err)
	}
	if list, err = b.Latest(t.Context(), 1); err != nil || len(list) != 1 || list[0].ID != ids[2] {
		t.Errorf("Latest of one = %+v, %v", list, err)
	}
}
