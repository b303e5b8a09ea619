package worker_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

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

// oneAppInTrouble is a WeChat that turns one app away by 45009 while quota is set, or lets it hang.
type oneAppInTrouble struct {
	sim   *wechattest.Simulator
	quota atomic.Bool
	hangs atomic.Bool

	mu          sync.Mutex
	first, last time.Time // requests of the troubled app since its quota was used up
	n           int       // of them
}

// ServeHTTP implements [http.Handler].
func (w *oneAppInTrouble) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	if r.URL.Query().Get("access_token") != w.sim.StaticToken(troubled) {
		w.sim.ServeHTTP(rw, r)
		return
	}
	if w.hangs.Load() {
		_, _ = io.Copy(io.Discard, r.Body) // else the server does not notice that the client leaves
		<-r.Context().Done()
		return
	}
	if !w.quota.Load() {
		w.sim.ServeHTTP(rw, r)
		return
	}
	w.mu.Lock()
	if w.n++; w.n == 1 {
		w.first = time.Now()
	}
	w.last = time.Now()
	w.mu.Unlock()
	_, _ = fmt.Fprint(rw, `{"errcode":45009,"errmsg":"reach max api daily quota limit rid: 68aeab00-21ea7900-3a442400"}`)
}

// world is two worker processes' worth of workers over one Redis and one WeChat.
type world struct {
	rdb     *redis.Client
	wechat  *oneAppInTrouble
	results *store.Redis
	pauses  *store.Pauses
}

func newWorld(t *testing.T) *world {
	t.Helper()
	sim, err := wechattest.New(wechattest.Config{Seed: 21, Latency: 5 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	api := &oneAppInTrouble{sim: sim}
	server := httptest.NewServer(api)
	t.Cleanup(server.Close)
	srv := redistest.Start(t)
	w := &world{rdb: srv.Client(t), wechat: api}
	w.results, w.pauses = store.NewRedis(w.rdb, time.Hour), store.NewPauses(w.rdb)
	for range 2 {
		w.start(t, srv, server.URL)
	}
	return w
}

// start runs a worker with a Redis client of its own, as a process has, until the test ends.
func (w *world) start(t *testing.T, srv *redistest.Server, url string) {
	t.Helper()
	rdb := redis.NewClient(&redis.Options{Addr: srv.Addr, MaxRetries: -1, PoolSize: 64, DisableIdentity: true})
	client, err := wechat.New(wechat.Config{BaseURL: url, Timeout: time.Second})
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
		Concurrency: 16, Fetchers: 2, ShutdownTimeout: 5 * time.Second,
	}, worker.Parts{
		Queue: rdb, Results: store.NewRedis(rdb, time.Hour), WeChat: client, Pauses: store.NewPauses(rdb),
		Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- wk.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		client.Close()
		_ = rdb.Close()
	})
}

// enqueue puts n cloudIDs of an app, of as many users, into the queue, in tasks of 20.
func (w *world) enqueue(t *testing.T, appID string, n int) (ids []string) {
	t.Helper()
	client := tasks.NewClient(w.rdb, tasks.Options{CommitLinger: -1})
	defer client.Close()
	for at := 0; at < n; at += 20 {
		req := tasks.Request{AppID: appID}
		for i := at; i < min(at+20, n); i++ {
			tap := w.wechat.sim.CloudID(appID, i, 0, time.Now())
			req.Items = append(req.Items, tasks.Item{CloudID: tap.CloudID, OpenID: tap.OpenID, ObtainedAt: tap.ObtainedAt})
			ids = append(ids, tap.CloudID)
		}
		if _, err := client.Resolve(t.Context(), req); err != nil {
			t.Fatal(err)
		}
	}
	return ids
}

// resolved waits until all of ids are.
func (w *world) resolved(t *testing.T, appID string, ids []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	records, err := store.Wait(ctx, w.results, appID, ids, time.Time{})
	if err != nil {
		t.Fatalf("waiting for %s: %v", appID, err)
	}
	for _, rec := range records {
		if rec.Status != store.Resolved {
			t.Fatalf("a record of %s is %s, %+v", appID, rec.Status, rec.Error)
		}
	}
}

// 45009 on one app stops its requests in both workers within a second; the other app goes on, and after the pause is
// lifted so does the first, with nothing lost.
func TestQuota_StopsOneAppEverywhere(t *testing.T) {
	w := newWorld(t)
	w.wechat.quota.Store(true)
	waiting := w.enqueue(t, troubled, 400)
	begun := time.Now()
	others := w.enqueue(t, healthy, 400)
	w.resolved(t, healthy, others)

	for paused := false; !paused; {
		list, err := w.pauses.List(t.Context())
		if err != nil || time.Since(begun) > 30*time.Second {
			t.Fatalf("no pause: %v", err)
		}
		paused = len(list) == 1 && list[0].AppID == troubled && list[0].Code == 45009 && list[0].Reason == "quota"
	}
	time.Sleep(2 * time.Second) // in which both workers know, and nothing of the app is sent
	w.wechat.mu.Lock()
	went, n := w.wechat.last.Sub(w.wechat.first), w.wechat.n
	w.wechat.mu.Unlock()
	t.Logf("%d requests of the app within %s", n, went.Round(time.Millisecond))
	if went > time.Second {
		t.Errorf("a request of the paused app %s after its first 45009, want none after a second", went)
	}
	if most := 2 * 8 * 2; n > most {
		t.Errorf("%d requests of the paused app, want about what two workers have under way", n)
	}

	w.wechat.quota.Store(false)
	if there, err := w.pauses.Lift(t.Context(), troubled); !there || err != nil {
		t.Fatalf("Lift() = %t, %v", there, err)
	}
	w.resolved(t, troubled, waiting)
}

// An app that hangs holds neither the slots nor the requests of another.
func TestHangingApp_DoesNotStopAnother(t *testing.T) {
	w := newWorld(t)
	w.wechat.hangs.Store(true)
	w.enqueue(t, troubled, 2000) // more tasks than both workers have slots
	others := w.enqueue(t, healthy, 400)
	begun := time.Now()
	w.resolved(t, healthy, others)
	t.Logf("400 cloudIDs beside an app that hangs took %s", time.Since(begun).Round(time.Millisecond))
}
