package worker_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"cloudidq/internal/coord"
	"cloudidq/internal/redistest"
	"cloudidq/internal/secret"
	"cloudidq/internal/wechat"
	"cloudidq/internal/wechat/wechattest"
	"cloudidq/store"
	"cloudidq/tasks"
	"cloudidq/worker"
)

const (
	troubled = "wx00000000000000aa"
	healthy  = "wx00000000000000bb"
)

// oneAppInTrouble is a WeChat that refuses one app with 45009 while quota is set, or does not
// answer it while hangs is set.
type oneAppInTrouble struct {
	sim   *wechattest.Simulator
	quota atomic.Bool
	hangs atomic.Bool

	refused atomic.Int64 // requests of the troubled app that were refused with 45009
	// hang counts the requests of the troubled app that hang or did hang. let counts those
	// whose client has left.
	hang, let atomic.Int64
}

// ServeHTTP implements [http.Handler].
func (w *oneAppInTrouble) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	if r.URL.Query().Get("access_token") != w.sim.StaticToken(troubled) {
		w.sim.ServeHTTP(rw, r)
		return
	}
	if w.hangs.Load() {
		_, _ = io.Copy(io.Discard, r.Body) // otherwise the server does not notice that the client leaves
		w.hang.Add(1)
		<-r.Context().Done()
		w.let.Add(1)
		return
	}
	if !w.quota.Load() {
		w.sim.ServeHTTP(rw, r)
		return
	}
	w.refused.Add(1)
	_, _ = fmt.Fprint(rw, `{"errcode":45009,"errmsg":"reach max api daily quota limit rid: 68aeab00-21ea7900-3a442400"}`)
}

// twoWorkers is an environment of two workers, as in two processes, over one Redis and one WeChat.
type twoWorkers struct {
	rdb     *redis.Client
	wechat  *oneAppInTrouble
	results *store.Redis
	pauses  *coord.Pauses
	users   int // number of users that have tapped so far
}

// newTwoWorkers starts both workers. timeout bounds a request to WeChat.
func newTwoWorkers(t *testing.T, timeout time.Duration) *twoWorkers {
	t.Helper()
	sim, err := wechattest.New(wechattest.Config{Seed: 21, Latency: 5 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	api := &oneAppInTrouble{sim: sim}
	server := httptest.NewServer(api)
	t.Cleanup(server.Close)
	srv := redistest.Start(t)
	w := &twoWorkers{rdb: srv.Client(t), wechat: api}
	w.results, w.pauses = store.NewRedis(w.rdb, time.Hour), coord.NewPauses(w.rdb)
	for range 2 {
		w.start(t, srv, server.URL, timeout)
	}
	return w
}

// start runs a worker with a Redis client of its own until the test ends, as a process would.
func (w *twoWorkers) start(t *testing.T, srv *redistest.Server, url string, timeout time.Duration) {
	t.Helper()
	rdb := redis.NewClient(&redis.Options{Addr: srv.Addr, MaxRetries: -1, PoolSize: 64, DisableIdentity: true})
	client, err := wechat.New(wechat.Config{BaseURL: url, Timeout: timeout})
	if err != nil {
		t.Fatal(err)
	}
	var apps []worker.App
	for _, id := range []string{troubled, healthy} {
		apps = append(apps, worker.App{
			AppID: id, Tokens: wechat.StaticToken(secret.New(w.wechat.sim.StaticToken(id))),
			BatchMax: 20, BatchLinger: time.Millisecond, MaxInFlight: 8,
		})
	}
	wk, err := worker.New(worker.Config{
		Apps: apps, Lifetime: 5 * time.Minute, Shares: map[string]int{tasks.QueueEvents: 6, tasks.QueueBackfill: 1},
		Concurrency: 16, Fetchers: 2, ShutdownTimeout: time.Second,
	}, worker.Parts{
		Queue: rdb, Results: store.NewRedis(rdb, time.Hour), WeChat: client, Pauses: coord.NewPauses(rdb),
		Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	stopped := make(chan error, 1)
	go func() { stopped <- wk.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-stopped; err != nil {
			t.Error(err)
		}
		client.Close()
		_ = rdb.Close()
	})
}

// enqueue puts n cloudIDs of an app into the queue, each of another user, in tasks of 20.
func (w *twoWorkers) enqueue(t *testing.T, appID string, n int) (ids []string) {
	t.Helper()
	w.users += n // earlier users have their cloudIDs already
	client := tasks.NewClient(w.rdb, tasks.Options{CommitLinger: -1})
	defer client.Close()
	for at := 0; at < n; at += 20 {
		req := tasks.Request{AppID: appID}
		for i := at; i < min(at+20, n); i++ {
			tap := w.wechat.sim.CloudID(appID, w.users-n+i, 0, time.Now())
			req.Items = append(req.Items, tasks.Item{CloudID: tap.CloudID, OpenID: tap.OpenID, ObtainedAt: tap.ObtainedAt})
			ids = append(ids, tap.CloudID)
		}
		if _, err := client.Resolve(t.Context(), req); err != nil {
			t.Fatal(err)
		}
	}
	return ids
}

// resolved waits until all of ids are resolved.
func (w *twoWorkers) resolved(t *testing.T, appID string, ids []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	records, err := store.Wait(ctx, w.results, appID, ids, store.EarlierFinals{})
	if err != nil {
		t.Fatalf("waiting for %s: %v", appID, err)
	}
	for _, rec := range records {
		if rec.Status != store.Resolved {
			t.Fatalf("a record of %s is %s, %+v", appID, rec.Status, rec.Error)
		}
	}
}

// 45009 on one app stops its requests in both workers. Each worker sends no more than its
// requests in flight, requeues all tasks of the app, and sends nothing for it while the other
// app goes on. After the pause is lifted the app goes on, and nothing is lost.
func TestQuota_StopsOneAppEverywhere(t *testing.T) {
	t.Parallel()
	w := newTwoWorkers(t, 10*time.Second)
	w.wechat.quota.Store(true)
	waiting := w.enqueue(t, troubled, 400)
	w.resolved(t, healthy, w.enqueue(t, healthy, 400))
	w.until(t, "the pause and all 20 tasks requeued", func() bool {
		list, err := w.pauses.List(t.Context())
		n, retryErr := w.rdb.ZCard(t.Context(), "asynq:{events}:retry").Result()
		return err == nil && retryErr == nil && n == 20 &&
			len(list) == 1 && list[0].AppID == troubled && list[0].Code == 45009 && list[0].Reason == "quota"
	})
	before := w.wechat.refused.Load()
	if most := int64(2 * 8 * 2); before > most {
		t.Errorf("%d requests of the paused app, want about what two workers have under way", before)
	}
	w.resolved(t, healthy, w.enqueue(t, healthy, 400))
	if n := w.wechat.refused.Load() - before; n != 0 {
		t.Errorf("%d requests of the paused app while 400 cloudIDs of another were resolved, want none", n)
	}

	w.wechat.quota.Store(false)
	if there, err := w.pauses.Lift(t.Context(), troubled); !there || err != nil {
		t.Fatalf("Lift() = %t, %v", there, err)
	}
	w.resolved(t, troubled, waiting)
}

// An app that hangs takes neither the slots nor the requests of another app. The other app gets
// all of its answers while every request of the first still waits.
func TestHangingApp_DoesNotStopAnother(t *testing.T) {
	t.Parallel()
	w := newTwoWorkers(t, time.Hour)
	w.wechat.hangs.Store(true)
	w.enqueue(t, troubled, 2000) // more tasks than both workers have slots for
	w.until(t, "requests that hang", func() bool { return w.wechat.hang.Load() > 0 })
	w.resolved(t, healthy, w.enqueue(t, healthy, 400))
	if n := w.wechat.let.Load(); n != 0 {
		t.Errorf("%d of %d hanging requests had returned before the other app had its answers", n, w.wechat.hang.Load())
	}
}

// until polls for a state, for as long as a very busy machine may need.
func (w *twoWorkers) until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for limit := time.Now().Add(5 * time.Minute); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("waited five minutes for %s", what)
		}
	}
}
