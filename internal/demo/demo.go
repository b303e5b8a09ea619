// Package demo runs the whole of cloudidq in one process that needs nothing installed: an embedded Redis, the WeChat
// simulator with faults mixed in, producer and worker. It then holds every record against what the simulator knows.
//
// `cloudidq demo` is its face. The parts are the real ones, wired as `cloudidq worker` wires them; only Redis is
// miniredis.
package demo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"cloudidq/internal/embedded"
	"cloudidq/internal/secret"
	"cloudidq/internal/wechat"
	"cloudidq/internal/wechat/wechattest"
	"cloudidq/store"
	"cloudidq/tasks"
	"cloudidq/worker"
)

// Config is what a run is made of.
type Config struct {
	IDs      int // cloudIDs to enqueue
	Users    int // whose they are
	Faults   wechattest.Faults
	Latency  time.Duration // of the simulator
	Seed     uint64
	Log      *slog.Logger
	Progress func(ended, accepted int) // called now and then; may be nil
}

const (
	appID  = "wx0000000000000001"
	queued = tasks.QueueEvents
)

// Run enqueues, resolves, checks and returns the report. It returns when everything it started has ended.
func Run(ctx context.Context, cfg Config) (Report, error) {
	mini, err := embedded.Start()
	if err != nil {
		return Report{}, err
	}
	defer mini.Close()
	sim, err := wechattest.New(wechattest.Config{
		Seed: cfg.Seed, Users: cfg.Users, Latency: cfg.Latency, Faults: cfg.Faults,
	})
	if err != nil {
		return Report{}, err
	}
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return Report{}, fmt.Errorf("listening for the simulator: %w", err)
	}

	stopped, stop := context.WithCancel(ctx)
	defer stop()
	var services errgroup.Group
	services.Go(func() error { return sim.Serve(stopped, ln) })
	services.Go(func() error { mini.Run(stopped); return nil })

	rdb := redis.NewClient(&redis.Options{Addr: mini.Addr(), MaxRetries: -1, PoolSize: 128, DisableIdentity: true})
	defer func() { _ = rdb.Close() }()
	report, err := resolveAll(ctx, cfg, sim, rdb, "http://"+ln.Addr().String())
	stop()
	return report, errors.Join(err, services.Wait())
}

// resolveAll runs a worker beside a producer until every cloudID has ended.
func resolveAll(ctx context.Context, cfg Config, sim *wechattest.Simulator, rdb *redis.Client, url string) (Report, error) {
	client, err := wechat.New(wechat.Config{BaseURL: url, Timeout: 5 * time.Second, MaxConns: maxInFlight})
	if err != nil {
		return Report{}, err
	}
	defer client.Close()
	results := store.NewRedis(rdb, time.Hour)
	w, err := worker.New(worker.Config{
		Apps: []worker.App{{
			AppID: appID, Tokens: client.StableToken(appID, secret.New("demo")),
			BatchMax: 20, BatchLinger: 5 * time.Millisecond, MaxInFlight: maxInFlight,
		}},
		Lifetime:    wechattest.DefaultLifetime,
		Shares:      map[string]int{tasks.QueueEvents: 6, tasks.QueueBackfill: 1},
		Concurrency: 64, Fetchers: 2, ShutdownTimeout: 10 * time.Second,
	}, worker.Parts{Queue: rdb, Results: results, WeChat: client, Pauses: store.NewPauses(rdb), Log: cfg.Log})
	if err != nil {
		return Report{}, err
	}
	working, stop := context.WithCancel(ctx)
	defer stop()
	var g errgroup.Group
	g.Go(func() error { return w.Run(working) })
	begun := time.Now()
	taps, records, err := produce(ctx, cfg, sim, rdb, results)
	seconds := time.Since(begun).Seconds()
	stop()
	if err := errors.Join(err, g.Wait()); err != nil {
		return Report{}, err
	}
	return newReport(sim, taps, records, seconds), nil
}

const maxInFlight = 64

// produce plays the mini program's back end: it enqueues what its users tapped and waits for the ends.
func produce(
	ctx context.Context, cfg Config, sim *wechattest.Simulator, rdb *redis.Client, results store.Results,
) ([]wechattest.Tap, []store.Record, error) {
	producer := tasks.NewClient(rdb, tasks.Options{})
	defer producer.Close()
	taps := make([]wechattest.Tap, cfg.IDs)
	req := tasks.Request{AppID: appID, Queue: queued, Items: make([]tasks.Item, cfg.IDs)}
	now := time.Now()
	for i := range taps {
		taps[i] = sim.CloudID(appID, i%cfg.Users, i/cfg.Users, now)
		req.Items[i] = tasks.Item{CloudID: taps[i].CloudID, OpenID: taps[i].OpenID, ObtainedAt: taps[i].ObtainedAt}
	}
	if _, err := producer.ResolveAll(ctx, req); err != nil {
		return nil, nil, err
	}
	records, err := watch(ctx, cfg, results, taps)
	return taps, records, err
}

// watch looks up what has not ended, in pages, until all has.
func watch(ctx context.Context, cfg Config, results store.Results, taps []wechattest.Tap) ([]store.Record, error) {
	records := make([]store.Record, len(taps))
	open := make([]int, len(taps))
	for i := range open {
		open[i] = i
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		still, err := lookup(ctx, results, taps, records, open)
		if err != nil {
			return nil, err
		}
		open = still
		if cfg.Progress != nil {
			cfg.Progress(len(taps)-len(open), len(taps))
		}
		if len(open) == 0 {
			return records, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, fmt.Errorf("%d of %d cloudIDs have not ended: %w", len(open), len(taps), ctx.Err())
		}
	}
}

// lookup refreshes the records of open and returns those that are still open.
func lookup(
	ctx context.Context, results store.Results, taps []wechattest.Tap, records []store.Record, open []int,
) ([]int, error) {
	const page = 1000
	var still []int
	for at := 0; at < len(open); at += page {
		part := open[at:min(at+page, len(open))]
		ids := make([]string, len(part))
		for i, k := range part {
			ids[i] = taps[k].CloudID
		}
		found, err := results.Lookup(ctx, appID, ids)
		if err != nil {
			return nil, err
		}
		for i, k := range part {
			records[k] = found[i]
			if !found[i].Status.Final() {
				still = append(still, k)
			}
		}
	}
	return still, nil
}
