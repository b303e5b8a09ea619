// Package bench measures how fast cloudidq drains a queue, reads files and answers requests. It
// compares cloudidq with a plain asynq worker and with a bare loop over HTTP. All of them run on
// the same cores in one run, because only the ratios are meaningful. Each measurement has its
// own redis-server. WeChat is the simulator in its own process, with a latency of 50 ms.
//
//	make bench
package bench

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
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
	appID       = "wx0000000000000001"
	latency     = 50 * time.Millisecond
	connections = 512
)

// size returns the number of cloudIDs of a benchmark. The environment variable name may override
// n, for a quick run.
func size(tb testing.TB, name string, n int) int {
	text := os.Getenv(name)
	if text == "" {
		return n
	}
	given, err := strconv.Atoi(text)
	if err != nil || given < 1 {
		tb.Fatalf("%s=%q is not a number of cloudIDs", name, text)
	}
	return given
}

// env is the environment of one measurement: a fresh Redis and the simulator's process.
type env struct {
	rdb *redis.Client
	sim *simulator
}

func newEnv(b *testing.B, sim *simulator) *env {
	b.Helper()
	srv := redistest.Start(b)
	rdb := redis.NewClient(&redis.Options{Addr: srv.Addr, MaxRetries: -1, PoolSize: 2 * connections})
	b.Cleanup(func() { _ = rdb.Close() })
	return &env{rdb: rdb, sim: sim}
}

func (e *env) client(b *testing.B) *wechat.Client {
	b.Helper()
	client, err := wechat.New(wechat.Config{BaseURL: e.sim.url, Timeout: 10 * time.Second, MaxConns: connections})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(client.Close)
	return client
}

// taps returns n cloudIDs of n users, obtained now.
func taps(n int) []wechattest.Tap {
	front, err := wechattest.New(wechattest.Config{Seed: simSeed, NoLedger: true})
	if err != nil {
		panic(err) // impossible: the configuration above is constant
	}
	now := time.Now()
	all := make([]wechattest.Tap, n)
	for i := range all {
		all[i] = front.CloudID(appID, i, 0, now)
	}
	return all
}

func items(all []wechattest.Tap) []tasks.Item {
	out := make([]tasks.Item, len(all))
	for i, tap := range all {
		out[i] = tasks.Item{CloudID: tap.CloudID, OpenID: tap.OpenID, ObtainedAt: tap.ObtainedAt}
	}
	return out
}

// drain makes cloudidq resolve all cloudIDs. It returns the time until the last record is saved.
// change may modify the app.
func drain(b *testing.B, e *env, all []wechattest.Tap, change func(*worker.App)) time.Duration {
	b.Helper()
	client := e.client(b)
	app := worker.App{
		AppID: appID, Tokens: wechat.StaticToken(secret.New(e.sim.token)),
		BatchMax: 20, BatchLinger: 5 * time.Millisecond, MaxInFlight: connections,
	}
	if change != nil {
		change(&app)
	}
	counted := newCounter(store.NewRedis(e.rdb, time.Hour), len(all))
	w, err := worker.New(worker.Config{
		Apps: []worker.App{app}, Lifetime: 5 * time.Minute,
		Shares:      map[string]int{tasks.QueueEvents: 6, tasks.QueueBackfill: 1},
		Concurrency: 64, Fetchers: 2, ShutdownTimeout: 20 * time.Second,
	}, worker.Parts{
		Queue: e.rdb, Results: counted, WeChat: client, Pauses: coord.NewPauses(e.rdb), Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		b.Fatal(err)
	}
	producer := tasks.NewClient(e.rdb, tasks.Options{})
	defer producer.Close()
	if _, err := producer.ResolveAll(b.Context(), tasks.Request{AppID: appID, Items: items(all)}); err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(b.Context())
	// The tasks are already in the queue, so the time is that of the worker alone.
	stopped := make(chan error, 1)
	begun := time.Now()
	go func() { stopped <- w.Run(ctx) }()
	counted.wait(b)
	took := time.Since(begun)
	stop()
	if err := <-stopped; err != nil {
		b.Fatal(err)
	}
	e.check(b, all)
	return took
}

// check verifies that all records are resolved, so that the measured rate counts correct answers
// only.
func (e *env) check(b *testing.B, all []wechattest.Tap) {
	b.Helper()
	results := store.NewRedis(e.rdb, time.Hour)
	for at := 0; at < len(all); at += 1000 {
		part := all[at:min(at+1000, len(all))]
		ids := make([]string, len(part))
		for i, tap := range part {
			ids[i] = tap.CloudID
		}
		records, err := results.Lookup(b.Context(), appID, ids)
		if err != nil {
			b.Fatal(err)
		}
		for _, rec := range records {
			if rec.Status != store.Resolved {
				b.Fatalf("a record is %q: %+v", rec.Status, rec.Error)
			}
		}
	}
}

// BenchmarkDrain runs the four ways one after another. x-plain and x-bare are the ratios to the
// first two ways in the same run.
func BenchmarkDrain(b *testing.B) {
	users, bulk := size(b, "BENCH_USERS", 40_000), size(b, "BENCH_BULK", 100_000)
	sim := startSimulator(b)
	rates := map[string]float64{}
	run := func(name string, n int, f func(b *testing.B, e *env, all []wechattest.Tap) time.Duration) {
		b.Run(fmt.Sprintf("%s/cloudIDs=%d", name, n), func(b *testing.B) {
			for b.Loop() {
				took := f(b, newEnv(b, sim), taps(n))
				rates[name] = float64(n) / took.Seconds()
			}
			report(b, rates, name)
		})
	}
	run(bare, users, bareLoop)
	run(plain, users, plainWorker)
	run("cloudidq/group_by=openid", users, func(b *testing.B, e *env, all []wechattest.Tap) time.Duration {
		return drain(b, e, all, nil)
	})
	run("cloudidq/group_by=app", bulk, func(b *testing.B, e *env, all []wechattest.Tap) time.Duration {
		return drain(b, e, all, func(app *worker.App) { app.GroupByApp, app.BatchMax = true, 100 })
	})
}

const (
	bare  = "bare-http-loop"
	plain = "plain-asynq-worker"
)

// report prints the rate of one way, and its ratios to the peers that have already run.
func report(b *testing.B, rates map[string]float64, name string) {
	b.ReportMetric(0, "ns/op") // one iteration is a whole drain, so the rate is the useful figure
	b.ReportMetric(rates[name], "cloudIDs/s")
	for _, peer := range []string{plain, bare} {
		if rate, ran := rates[peer]; ran && name != bare && name != peer {
			b.ReportMetric(rates[name]/rate, "x-"+peer[:strings.IndexByte(peer, '-')])
		}
	}
}
