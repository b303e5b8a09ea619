package activity_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"cloudidq/internal/activity"
	"cloudidq/internal/redistest"
	"cloudidq/store"
)

// clock is a clock that a test advances.
type clock struct{ at time.Time }

// newClock returns a clock that starts at a whole minute, in the future.
func newClock() *clock { return &clock{time.Now().Truncate(time.Minute).Add(10 * time.Minute)} }

func (c *clock) now() time.Time       { return c.at }
func (c *clock) pass(d time.Duration) { c.at = c.at.Add(d) }

// newRecorder returns a recorder of its own process that uses c.
func newRecorder(t *testing.T, srv *redistest.Server, c *clock) *activity.Recorder {
	t.Helper()
	a := activity.NewRecorder(srv.Client(t))
	a.SetClock(c.now)
	return a
}

func flush(t *testing.T, all ...*activity.Recorder) {
	t.Helper()
	for _, a := range all {
		if err := a.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func read(t *testing.T, r *activity.Reader, c *clock) activity.Recent {
	t.Helper()
	w, err := r.Read(t.Context(), c.now())
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// The counts of all processes add up, also if a process writes the same slot twice.
func TestRecorder_ProcessesAddUp(t *testing.T) {
	srv, c := redistest.Start(t), newClock()
	one, two := newRecorder(t, srv, c), newRecorder(t, srv, c)
	recent := activity.NewReader(srv.Client(t))
	for range 3 {
		one.Finished("wxA", store.Resolved, 100*time.Millisecond)
	}
	one.Finished("wxA", store.Pending, time.Hour) // not a final status, so not counted
	one.Sent("wxA", 1, 5)
	two.Finished("wxA", store.Failed, time.Second)
	two.Finished("wxB", store.Expired, 5*time.Minute)
	two.Sent("wxA", 2, 2)
	flush(t, one, two)
	one.Finished("wxA", store.Resolved, 100*time.Millisecond)
	flush(t, one, two, one) // repeats the write, with more counts in the same slot
	if w := read(t, recent, c); len(w.Apps) != 0 || w.Workers != 2 {
		t.Errorf("in an open slot: %d apps and %d workers, want 0 and 2", len(w.Apps), w.Workers)
	}
	c.pass(activity.Slot + 2*time.Second)
	w := read(t, recent, c)
	a, b := w.Apps["wxA"], w.Apps["wxB"]
	if a == nil || b == nil || len(w.Apps) != 2 {
		t.Fatalf("apps = %v", w.Apps)
	}
	took := a.Total.Took
	a.Total.Took = nil
	if diff := cmp.Diff(activity.Tally{Resolved: 4, Failed: 1, Requests: 3, Sent: 7}, a.Total); diff != "" {
		t.Errorf("tally (-want +got):\n%s", diff)
	}
	if p50, ok := took.Quantile(0.5); !ok || p50 < 80*time.Millisecond || p50 > 120*time.Millisecond {
		t.Errorf("median = %v, want about 100 ms", p50)
	}
	if b.Total.Expired != 1 || b.Total.Finished() != 1 || a.LastMinute.Resolved != 4 {
		t.Errorf("wxB = %+v, lastMinute wxA = %+v", b.Total, a.LastMinute)
	}
	last := activity.SeriesPoints - 1
	if a.Resolved[last] != 4 || a.Failed[last] != 1 || b.Expired[last] != 1 || len(a.Resolved) != activity.SeriesPoints {
		t.Errorf("series = %v %v %v", a.Resolved, a.Failed, b.Expired)
	}
}

// Activity moves through the window and leaves it, whether or not anything read the window
// meanwhile.
func TestReader_WindowMoves(t *testing.T) {
	srv, c := redistest.Start(t), newClock()
	a := newRecorder(t, srv, c)
	reader := activity.NewReader(srv.Client(t))
	finished := func(r *activity.Reader) (total, lastMinute int64) {
		if s := read(t, r, c).Apps["wxA"]; s != nil {
			return s.Total.Resolved, s.LastMinute.Resolved
		}
		return 0, 0
	}
	for minute := range 20 {
		for range minute + 1 {
			a.Finished("wxA", store.Resolved, time.Second)
		}
		flush(t, a)
		c.pass(10 * time.Second)
		if total, lastMinute := finished(reader); lastMinute != int64(minute+1) ||
			total != int64(sum(max(0, minute-14), minute)) {
			t.Fatalf("in minute %d: %d in total and %d in the last minute, want %d and %d", minute, total,
				lastMinute, sum(max(0, minute-14), minute), minute+1)
		}
		if fresh := activity.NewReader(srv.Client(t)); cmp.Diff(read(t, reader, c),
			read(t, fresh, c)) != "" {
			t.Fatalf("in minute %d a new reader returns something else", minute)
		}
		c.pass(50 * time.Second)
	}
	c.pass(activity.Window)
	if w := read(t, reader, c); len(w.Apps) != 0 || w.Workers != 0 {
		t.Errorf("after the window: %v, %d workers", w.Apps, w.Workers)
	}
}

// sum returns (1 + from) + … + (1 + to).
func sum(from, to int) (n int) {
	for i := from; i <= to; i++ {
		n += i + 1
	}
	return n
}

// A read costs only the slots of the last seconds, not all slots of the window.
func TestReader_ReadsNewSlotsOnly(t *testing.T) {
	srv, c := redistest.Start(t), newClock()
	rdb := srv.Client(t)
	recent := activity.NewReader(rdb)
	read(t, recent, c)
	before := calls(t, srv, "hgetall")
	read(t, recent, c)
	if n := calls(t, srv, "hgetall") - before; n < 1 || n > 8 {
		t.Errorf("a second read fetches %d slots, want those of the last seconds", n)
	}
}

// A write costs two commands per slot, however busy the process is. All keys expire.
func TestRecorder_WriteIsCheap(t *testing.T) {
	srv, c := redistest.Start(t), newClock()
	a := newRecorder(t, srv, c)
	flush(t, a)
	sets, expires := calls(t, srv, "hset"), calls(t, srv, "pexpire")
	for i := range 3000 {
		a.Finished(strings.Repeat("w", i%300), store.Resolved, time.Duration(i)*time.Millisecond)
	}
	flush(t, a)
	if s, e := calls(t, srv, "hset")-sets, calls(t, srv, "pexpire")-expires; s != 1 || e != 1 {
		t.Errorf("3000 final statuses of 300 apps took %d HSET and %d PEXPIRE, want one of each", s, e)
	}
	rdb := srv.Client(t)
	for _, key := range rdb.Keys(t.Context(), "*").Val() {
		if ttl := rdb.TTL(t.Context(), key).Val(); ttl <= 0 || ttl > 20*time.Minute {
			t.Errorf("%s expires in %v", key, ttl)
		}
	}
}

// calls returns how often Redis ran a command.
func calls(t *testing.T, srv *redistest.Server, command string) int64 {
	t.Helper()
	info, err := srv.Client(t).Info(t.Context(), "commandstats").Result()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(info) {
		if stats, ok := strings.CutPrefix(line, "cmdstat_"+command+":calls="); ok {
			var n int64
			number, _, _ := strings.Cut(stats, ",")
			if err := json.Unmarshal([]byte(number), &n); err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	return 0
}

// Counts from an outage of Redis are written once it is back. A process that stops writes what
// it has.
func TestRecorder_RedisDown_NothingIsLost(t *testing.T) {
	t.Parallel()
	srv, c := redistest.Start(t), newClock()
	a := newRecorder(t, srv, c)
	a.Finished("wxA", store.Resolved, time.Second)
	srv.Kill()
	if err := a.Flush(t.Context()); err == nil {
		t.Fatal("a write without Redis succeeded")
	}
	c.pass(30 * time.Second)
	a.Finished("wxA", store.Failed, time.Second)
	srv.Restart()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	a.Run(ctx, slog.New(slog.DiscardHandler)) // ctx is canceled: writes once more and returns
	c.pass(10 * time.Second)
	s := read(t, activity.NewReader(srv.Client(t)), c).Apps["wxA"]
	if s == nil || s.Total.Resolved != 1 || s.Total.Failed != 1 {
		t.Fatalf("activity = %+v, want both final statuses", s)
	}
	if at := slices.Index(s.Resolved, 1); at < 0 || slices.Index(s.Failed, 1) <= at {
		t.Errorf("series = %v %v, want resolved before failed", s.Resolved, s.Failed)
	}
}

// A value of another format is not counted as activity, and does not hide that of other
// processes.
func TestReader_InvalidValues(t *testing.T) {
	srv, c := redistest.Start(t), newClock()
	a := newRecorder(t, srv, c)
	a.Finished("wxA", store.Resolved, time.Second)
	flush(t, a)
	rdb := srv.Client(t)
	key := rdb.Keys(t.Context(), "cloudidq:activity:*").Val()[0]
	long := "[" + strings.Repeat("1,", 500) + "1]"
	for i, text := range []string{"", "[]", "null", `{"wxA":7}`, `{"wxB":{"r":"x"}}`, `{"wxC":{"l":` + long + `}}`} {
		if err := rdb.HSet(t.Context(), key, string(rune('a'+i)), text).Err(); err != nil {
			t.Fatal(err)
		}
	}
	c.pass(10 * time.Second)
	if s := read(t, activity.NewReader(rdb), c).Apps["wxA"]; s == nil || s.Total.Resolved != 1 {
		t.Errorf("wxA = %+v", s)
	}
}

// A quantile is exact to one step of the bounds, even if counts of several processes are added.
func TestLatencies_Quantile(t *testing.T) {
	if _, ok := (activity.Latencies{}).Quantile(0.5); ok {
		t.Error("no durations have a median")
	}
	rapid.Check(t, func(t *rapid.T) {
		took := rapid.SliceOfN(rapid.Int64Range(2, 300_000), 1, 200).Draw(t, "milliseconds")
		q := rapid.SampledFrom([]float64{0.5, 0.9, 0.99, 1}).Draw(t, "q")
		var tallies [2]activity.Tally
		for i, ms := range took {
			tallies[i%2].Took.Count(time.Duration(ms) * time.Millisecond)
		}
		tallies[0].Add(&tallies[1])
		got, ok := tallies[0].Took.Quantile(q)
		slices.Sort(took)
		want := time.Duration(took[min(len(took)-1, int(q*float64(len(took))))]) * time.Millisecond
		lower := time.Duration(took[max(0, int(q*float64(len(took)))-1)]) * time.Millisecond
		if !ok || float64(got) > 1.42*float64(want) || 1.42*float64(got) < float64(lower) {
			t.Fatalf("Quantile(%v) = %v, %v, want between %v and %v or near", q, got, ok, lower, want)
		}
	})
}

func BenchmarkActivity(b *testing.B) {
	a := activity.NewRecorder(nil)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			a.Finished("wx0000000000000001", store.Resolved, 120*time.Millisecond)
		}
	})
}
