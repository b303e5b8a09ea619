package worker

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"cloudidq/internal/coord"
	"cloudidq/internal/redistest"
	"cloudidq/internal/secret"
	"cloudidq/internal/wechat"
	"cloudidq/store"
	"cloudidq/tasks"
)

// slowApps is a WeChat that answers the slow app only after its gate is open, and then after
// delay. It records the order of the cloudIDs.
type slowApps struct {
	gate  chan struct{} // of the slow app
	delay time.Duration // of the slow app

	mu        sync.Mutex
	requested map[string][]string // cloudIDs by app; guarded by mu
}

// GetOpenData implements openData.
func (s *slowApps) GetOpenData(ctx context.Context, _ wechat.TokenSource, req wechat.Request) []wechat.Outcome {
	s.mu.Lock()
	outcomes := make([]wechat.Outcome, len(req.Items))
	for i, it := range req.Items {
		s.requested[req.AppID] = append(s.requested[req.AppID], it.CloudID)
		outcomes[i] = wechat.Outcome{CloudID: it.CloudID, Attempts: 1, Data: []byte(`{}`)}
	}
	s.mu.Unlock()
	if req.AppID != slow {
		return outcomes
	}
	select {
	case <-s.gate:
		<-time.After(s.delay)
	case <-ctx.Done():
	}
	return outcomes
}

func newSlowApps(delay time.Duration) *slowApps {
	return &slowApps{gate: make(chan struct{}), delay: delay, requested: make(map[string][]string)}
}

// of returns the cloudIDs of an app in the order of their requests.
func (s *slowApps) of(appID string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requested[appID])
}

const slow, quick = "wx00000000000000aa", "wx00000000000000bb"

// twoAppWorker runs a worker with the default configuration and two apps until the test ends.
func twoAppWorker(t *testing.T, srv *redistest.Server, w *slowApps) *Worker {
	t.Helper()
	queue := redis.NewClient(&redis.Options{Addr: srv.Addr, MaxRetries: -1, PoolSize: 64, DisableIdentity: true})
	t.Cleanup(func() { _ = queue.Close() })
	rdb := srv.Client(t)
	apps := make([]App, 0, 2)
	for _, id := range []string{slow, quick} {
		apps = append(apps, app(func(a *App) { a.AppID, a.Tokens = id, wechat.StaticToken(secret.New("planted")) }))
	}
	wk, err := New(Config{
		Apps: apps, Lifetime: 5 * time.Minute, Concurrency: 64, Fetchers: 2, ShutdownTimeout: 5 * time.Second,
		Shares: map[string]int{tasks.QueueEvents: 6, tasks.QueueBackfill: 1, tasks.QueueWebhooks: 3},
	}, Parts{
		Queue: queue, Results: store.NewRedis(rdb, time.Hour), WeChat: w, Pauses: coord.NewPauses(rdb), Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	runUntilTheEnd(t, wk)
	return wk
}

// enqueueOf puts n tasks of one cloudID each into the queue. The cloudIDs are numbered in the
// order of their tasks.
func enqueueOf(t *testing.T, rdb *redis.Client, appID string, n int) {
	t.Helper()
	client := tasks.NewClient(rdb, tasks.Options{CommitLinger: -1})
	defer client.Close()
	for i := range n {
		req := tasks.Request{AppID: appID, Items: []tasks.Item{{CloudID: fmt.Sprintf("73_%s_%04d", appID, i), OpenID: fmt.Sprint("o", i)}}}
		if _, err := client.Resolve(t.Context(), req); err != nil {
			t.Fatal(err)
		}
	}
}

// wantInOrder checks that no cloudID was requested before more than n others that precede it in
// the queue. That many tasks may be working at the same time. One cloudID may be late by any
// number, because others pass it while its goroutine does not run.
func wantInOrder(t *testing.T, requested []string, n int) {
	t.Helper()
	sorted := slices.Sorted(slices.Values(requested))
	for at, id := range requested {
		if right, _ := slices.BinarySearch(sorted, id); right-at > n {
			t.Fatalf("cloudID %d of the queue was requested as number %d, want the order kept except for %d in flight", right, at, n)
		}
	}
}

// queued returns the waiting cloudIDs in the order in which they will be fetched.
func queued(t *testing.T, rdb *redis.Client) []string {
	t.Helper()
	infos, err := asynq.NewInspectorFromRedisClient(rdb).ListPendingTasks(tasks.QueueEvents, asynq.PageSize(10_000))
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, info := range infos {
		p, err := tasks.ParseResolve(info.Payload)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, p.Items[0].CloudID)
	}
	return ids
}

// nearlySorted reports whether each id is within n positions of its place.
func nearlySorted(ids []string, n int) bool {
	sorted := slices.Sorted(slices.Values(ids))
	for at, id := range ids {
		if right, _ := slices.BinarySearch(sorted, id); right-at > n || at-right > n {
			return false
		}
	}
	return true
}

// If one app is slow and has a backlog while the other app is idle, the backlog stays in its
// queue and in its order. No task is requeued to make way.
func TestBacklogOfOneApp_BesideAnIdleOne(t *testing.T) {
	srv := redistest.Start(t)
	rdb := srv.Client(t)
	const n = 600
	enqueueOf(t, rdb, slow, n)
	w := newSlowApps(200 * time.Millisecond)
	rdb.ConfigResetStat(t.Context())
	begun := time.Now()
	wk := twoAppWorker(t, srv, w)
	room := wk.shares.rooms[tasks.QueueEvents]
	await(t, "more tasks at work than the share, while no other app has any", func() bool { return wk.shares.workingNow(slow) > room.most })
	close(w.gate)
	back := int64(0)
	await(t, "the backlog to end", func() bool {
		back = max(back, rdb.ZCard(t.Context(), "asynq:{events}:retry").Val())
		return len(w.of(slow)) >= n
	})
	took := time.Since(begun)
	scripts := calls(t, rdb, "evalsha")
	t.Logf("%d scripts in %s, at most %d tasks in retry", scripts, took.Round(time.Millisecond), back)
	if most := int(1000 * took.Seconds()); scripts > most {
		t.Errorf("%d scripts, want at most %d in %s", scripts, most, took)
	}
	if back > 0 {
		t.Errorf("%d tasks were in retry, want none: no other app wanted their slots", back)
	}
	// A task that has waited for waitsFor goes back.
	if came, most := wk.shares.cameSoFar(), n+room.slots*int(time.Since(begun)/waitsFor); came > most {
		t.Errorf("%d attempts of %d tasks, want at most %d", came, n, most)
	}
	wantInOrder(t, w.of(slow), room.slots)
}

// Tasks of an app that arrive behind the backlog of another app, which uses all slots, do not
// wait for that backlog. The backlog keeps its order, and at most one of its tasks makes way
// for each of them.
func TestBacklogOfOneApp_DoesNotKeepAnother(t *testing.T) {
	srv := redistest.Start(t)
	rdb := srv.Client(t)
	const n, others = 500, 40
	enqueueOf(t, rdb, slow, n)
	w := newSlowApps(0)
	begun := time.Now()
	wk := twoAppWorker(t, srv, w)
	await(t, "all slots to be occupied", func() bool { return wk.shares.waitingNow() > 0 })
	enqueueOf(t, rdb, quick, others)
	await(t, "the other app, while no request of the first is answered", func() bool { return len(w.of(quick)) == others })
	room := wk.shares.rooms[tasks.QueueEvents]
	// Tasks that reached their handlers at the same time may have changed places.
	await(t, "the yielded tasks to return to their places", func() bool {
		back := rdb.ZCard(t.Context(), "asynq:{events}:retry").Val()
		return back == 0 && nearlySorted(queued(t, rdb), 2*room.slots)
	})
	close(w.gate)
	await(t, "the backlog to end", func() bool { return len(w.of(slow)) >= n })
	came := wk.shares.cameSoFar()
	t.Logf("%d attempts of %d tasks", came, n+others)
	// A task that has waited for waitsFor goes back as well.
	if most := n + 2*others + room.slots*(1+int(time.Since(begun)/waitsFor)); came > most {
		t.Errorf("%d attempts of %d tasks, want at most %d", came, n+others, most)
	}
	wantInOrder(t, w.of(slow), 2*room.slots)
	wantInOrder(t, w.of(quick), room.slots)
}

func (s *shares) workingNow(appID string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rooms[tasks.QueueEvents].working[appID]
}

func (s *shares) cameSoFar() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rooms[tasks.QueueEvents].came
}

func (s *shares) waitingNow() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.rooms[tasks.QueueEvents].waiting)
}
