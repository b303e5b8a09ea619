package bench

import (
	"context"
	"log/slog"
	"slices"
	"testing"
	"time"

	"cloudidq/internal/coord"
	"cloudidq/internal/secret"
	"cloudidq/internal/wechat"
	"cloudidq/internal/wechat/wechattest"
	"cloudidq/store"
	"cloudidq/tasks"
	"cloudidq/worker"
)

// BenchmarkIdleLatency measures how long one user waits in an idle system: from Resolve to the
// record that Wait returns. It uses the default settings and a simulator with a latency of 1 ms.
func BenchmarkIdleLatency(b *testing.B) {
	e := newEnv(b, startSimulator(b, latencyEnv+"=1ms"))
	client := e.client(b)
	results := store.NewRedis(e.rdb, time.Hour)
	w, err := worker.New(worker.Config{
		Apps: []worker.App{{
			AppID: appID, Tokens: wechat.StaticToken(secret.New(e.sim.token)),
			BatchMax: 20, BatchLinger: 5 * time.Millisecond, MaxInFlight: 64,
		}},
		Lifetime: 5 * time.Minute, Shares: map[string]int{tasks.QueueEvents: 6, tasks.QueueBackfill: 1},
		Concurrency: 64, Fetchers: 2, ShutdownTimeout: 20 * time.Second,
	}, worker.Parts{
		Queue: e.rdb, Results: results, WeChat: client, Pauses: coord.NewPauses(e.rdb), Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(b.Context())
	stopped := make(chan error, 1)
	go func() { stopped <- w.Run(ctx) }()
	producer := tasks.NewClient(e.rdb, tasks.Options{})
	defer producer.Close()

	var took []time.Duration
	for _, tap := range taps(b.N) {
		began := time.Now()
		resolveOne(b, producer, results, tap)
		took = append(took, time.Since(began))
	}
	b.StopTimer()
	stop()
	if err := <-stopped; err != nil {
		b.Fatal(err)
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
}

func resolveOne(b *testing.B, producer *tasks.Client, results store.Results, tap wechattest.Tap) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), 30*time.Second)
	defer cancel()
	if _, err := producer.Resolve(ctx, tasks.Request{AppID: appID, Items: items([]wechattest.Tap{tap})}); err != nil {
		b.Fatal(err)
	}
	records, err := store.Wait(ctx, results, appID, []string{tap.CloudID}, store.EarlierFinals{})
	if err != nil || records[0].Status != store.Resolved {
		b.Fatalf("record = %+v, %v", records, err)
	}
}
