package status_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/text/language"
	"pgregory.net/rapid"

	"cloudidq/internal/activity"
	"cloudidq/internal/coord"
	"cloudidq/internal/queue"
	"cloudidq/internal/status"
	"cloudidq/store"
	"cloudidq/tasks"
)

// fakeSources implements the sources with fixed results.
type fakeSources struct {
	window    activity.Recent
	pauses    []coord.Pause
	endpoints map[string]store.EndpointState
	backlogs  []store.Backlog
	queues    []queue.Snapshot
	err       error
	reads     atomic.Int64
}

func (f *fakeSources) Read(context.Context, time.Time) (activity.Recent, error) {
	f.reads.Add(1)
	return f.window, f.err
}
func (f *fakeSources) List(context.Context) ([]coord.Pause, error) { return f.pauses, nil }
func (f *fakeSources) Endpoint(_ context.Context, name string) (store.EndpointState, error) {
	return f.endpoints[name], nil
}
func (f *fakeSources) Backlogs(context.Context, int) ([]store.Backlog, bool, error) {
	return f.backlogs, false, nil
}

// healthy returns sources without any problem.
func healthy() *fakeSources {
	return &fakeSources{window: activity.Recent{Workers: 1,
		Apps: map[string]*activity.Series{"wxA": lately(100, 0, 0)}}}
}

// lately returns a series whose counts are all in the last step.
func lately(resolved, failed, expired int64) *activity.Series {
	s := &activity.Series{Resolved: make([]int64, activity.SeriesPoints), Failed: make([]int64, activity.SeriesPoints), Expired: make([]int64, activity.SeriesPoints)}
	last := activity.SeriesPoints - 1
	s.Resolved[last], s.Failed[last], s.Expired[last] = resolved, failed, expired
	s.Total = activity.Tally{Resolved: resolved, Failed: failed, Expired: expired}
	s.LastMinute = s.Total
	return s
}

func (f *fakeSources) collector() *status.Collector {
	return status.New(
		status.Config{Apps: []string{"wxA"}, Webhooks: []status.Webhook{{Name: "orders", Apps: []string{"wxA"}}}, Lifetime: 5 * time.Minute},
		status.Sources{
			Activity: f, Pauses: f, Deliveries: f, Explain: func(int) (string, string) {
				return "text",
					"remedy"
			},
			Queues: func(context.Context) ([]queue.Snapshot, error) { return f.queues, nil },
		})
}

func (f *fakeSources) status(t *testing.T, v status.Viewer) *status.Status {
	t.Helper()
	s, err := f.collector().For(t.Context(), v)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestAlerts(t *testing.T) {
	waits := func(age time.Duration) []queue.Snapshot {
		waiting := []queue.Waiting{{AppID: "wxA", Since: time.Now().Add(-age)}}
		return []queue.Snapshot{{Queue: tasks.QueueEvents, Waiting: waiting}}
	}
	for name, tc := range map[string]struct {
		change func(f *fakeSources)
		want   []status.Alert
	}{
		"Healthy": {func(*fakeSources) {}, []status.Alert{}},
		"NoWorker": {func(f *fakeSources) { f.window.Workers = 0 },
			[]status.Alert{{Code: status.NoWorker, Condition: status.Trouble}}},
		"WaitsShort": {func(f *fakeSources) { f.queues = waits(2 * time.Minute) }, []status.Alert{}},
		"WaitsLong": {func(f *fakeSources) { f.queues = waits(3 * time.Minute) },
			[]status.Alert{{Code: status.OldCloudIDs, Condition: status.Attention}}},
		"WaitsTooLong": {func(f *fakeSources) { f.queues = waits(6 * time.Minute) },
			[]status.Alert{{Code: status.OldCloudIDs, Condition: status.Trouble}}},
		"FewLost": {func(f *fakeSources) { f.window.Apps["wxA"] = lately(81, 10, 9) },
			[]status.Alert{}},
		"ManyLost": {func(f *fakeSources) { f.window.Apps["wxA"] = lately(75, 10, 15) },
			[]status.Alert{{Code: status.ManyLost, Condition: status.Attention, Count: 25}}},
		"MostLost": {func(f *fakeSources) { f.window.Apps["wxA"] = lately(0, 10, 15) },
			[]status.Alert{{Code: status.ManyLost, Condition: status.Trouble, Count: 100}}},
		"OneOfOneLost": {func(f *fakeSources) { f.window.Apps["wxA"] = lately(0, 1, 0) },
			[]status.Alert{}},
		"AllAtOnce": {
			func(f *fakeSources) {
				f.window.Workers, f.pauses = 0, []coord.Pause{{AppID: "wxA", Reason: "odd"}}
				f.endpoints = map[string]store.EndpointState{"orders": {FirstFailure: store.At(time.Now())}}
			},
			[]status.Alert{
				{Code: status.NoWorker, Condition: status.Trouble}, {Code: status.AppsPaused, Condition: status.Attention, Count: 1},
				{Code: status.WebhooksFailing, Condition: status.Attention, Count: 1},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := healthy()
			tc.change(f)
			s := f.status(t, status.Viewer{Limit: 10})
			if diff := cmp.Diff(tc.want, s.Alerts); diff != "" {
				t.Errorf("alerts (-want +got):\n%s", diff)
			}
			want := status.OK
			if len(tc.want) > 0 {
				want = tc.want[0].Condition
			}
			if s.Condition != want {
				t.Errorf("condition = %s, want %s", s.Condition, want)
			}
			for _, tag := range status.Languages { // the page can render every status
				if _, err := status.NewPage().HTML(s, status.View{Language: tag}); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// The sources are read once a second, regardless of the number of viewers.
func TestCollector_SharesOneRead(t *testing.T) {
	f := healthy()
	c := f.collector()
	for range 50 {
		if _, err := c.For(t.Context(), status.Viewer{}); err != nil {
			t.Fatal(err)
		}
	}
	if n := f.reads.Load(); n > 2 {
		t.Errorf("50 calls read the sources %d times, want at most 2", n)
	}
}

// An error is not cached, and older data is not returned in its place.
func TestCollector_Error(t *testing.T) {
	f := healthy()
	f.err = errors.New("unavailable")
	c := f.collector()
	if _, err := c.For(t.Context(), status.Viewer{}); err == nil {
		t.Error("For succeeded although the sources failed")
	}
	f.err = nil
	if _, err := c.For(t.Context(), status.Viewer{}); err != nil {
		t.Errorf("For after the error = %v", err)
	}
}

// With thousands of apps, the busiest ones are listed and all are counted.
func TestFor_ManyApps(t *testing.T) {
	f := healthy()
	for i := range 3000 {
		f.window.Apps["wx"+string(rune('0'+i%10))+strings.Repeat("m",
			i%7)+time.Duration(i).String()] = lately(int64(i), 0, 0)
	}
	s := f.status(t, status.Viewer{Limit: 20})
	if len(s.Apps) != 20 || s.LeftOut != 3001-20 || s.Apps[0].Resolved != 2999 || s.Apps[19].Resolved != 2980 || s.Total.Resolved != 2999*3000/2+100 {
		t.Errorf("%d apps, the first with %d resolved, %d left out, %d resolved in total", len(s.Apps),
			s.Apps[0].Resolved, s.LeftOut, s.Total.Resolved)
	}
	html, err := status.NewPage().HTML(s, status.View{Viewer: status.Viewer{Limit: 20}, Language: language.English})
	if err != nil || len(html) > 100_000 || !strings.Contains(string(html), "2,981 more apps") {
		t.Errorf("the page has %d bytes, %v", len(html), err)
	}
}

func TestSpan(t *testing.T) {
	for _, tc := range []struct {
		d      time.Duration
		en, zh string
	}{
		{-time.Second, "0 s", "0 秒"}, {0, "0 ms", "0 毫秒"}, {999 * time.Millisecond, "999 ms", "999 毫秒"}, {1540 * time.Millisecond, "1.5 s", "1.5 秒"},
		{42 * time.Second, "42 s", "42 秒"}, {5 * time.Minute, "5 min", "5 分"}, {252 * time.Second, "4 min 12 s", "4 分 12 秒"},
		{90 * time.Minute, "1 h 30 min", "1 小时 30 分"}, {49 * time.Hour, "2 d 1 h", "2 天 1 小时"},
	} {
		if en, zh := status.Span(language.English, tc.d), status.Span(language.SimplifiedChinese, tc.d); en != tc.en || zh != tc.zh {
			t.Errorf("%v = %q, %q, want %q, %q", tc.d, en, zh, tc.en, tc.zh)
		}
	}
}

func TestNumbers(t *testing.T) {
	for got, want := range map[string]string{
		status.Share(1, 0): "–", status.Share(0, 9): "0.0 %", status.Share(1, 9999): "< 0.1 %", status.Share(9999, 10000): "99.9 %",
		status.Share(7, 7): "100 %", status.Count(0): "0", status.Count(999): "999", status.Count(1234567): "1,234,567", status.Count(-1234): "-1,234",
		status.Decimal(0.456): "0.46", status.Decimal(12.34): "12.3", status.Decimal(1234.5): "1,235",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// A sparkline stays within its box for any values.
func TestSpark_StaysWithinItsBox(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		points := rapid.SliceOfN(rapid.Int64Range(0, 1<<40), activity.SeriesPoints, activity.SeriesPoints).Draw(t, "points")
		for _, place := range strings.FieldsFunc(strings.TrimSuffix(status.Spark(points), "V20Z"), func(r rune) bool { return r == 'M' || r == 'L' }) {
			var x, y int
			if n, err := fmt.Sscanf(place, "%d %d", &x, &y); n != 2 || err != nil || x < 0 || x > 118 || y < 0 || y > 20 {
				t.Fatalf("%q is outside of the box", place)
			}
		}
	})
	if got := status.Spark(make([]int64, activity.SeriesPoints)); got != "M0 20L0 20L118 20V20Z" {
		t.Errorf("Spark of zeros = %q, want the baseline", got)
	}
}
