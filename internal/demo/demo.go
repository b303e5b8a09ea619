// Package demo runs all of cloudidq in one process and needs no installation: `cloudidq serve`
// with its embedded Redis, the WeChat simulator with faults, and a producer. It then compares
// every record with what the simulator knows. `cloudidq demo` is its user interface.
package demo

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"cloudidq/internal/app"
	"cloudidq/internal/wechat/wechattest"
	"cloudidq/store"
	"cloudidq/tasks"
)

// Config holds the settings of a run.
type Config struct {
	IDs      int // number of cloudIDs to enqueue
	Users    int // number of users that the cloudIDs belong to
	Faults   wechattest.Faults
	Latency  time.Duration // latency of the simulator
	Seed     uint64
	Progress func(ended, accepted int) // called at intervals with the number of final and accepted cloudIDs; may be nil

	several bool // several apps, for [Serve]
}

const (
	appID  = "wx0000000000000001"
	queued = tasks.QueueEvents

	maxInFlight = 64
)

// Run enqueues and resolves the cloudIDs, checks the records and returns the report. It returns
// after everything it has started has stopped.
func Run(ctx context.Context, cfg Config) (Report, error) {
	e, err := newEnvironment(ctx, cfg, nil)
	if err != nil {
		return Report{}, err
	}
	defer e.close()
	var report Report
	err = e.run(ctx, func(ctx context.Context, _ app.Addresses) (err error) {
		report, err = e.play(ctx)
		return err
	})
	return report, err
}

// play runs a mini program's back end until every cloudID is final, and returns the report.
func (e *environment) play(ctx context.Context) (Report, error) {
	begun := time.Now()
	taps, records, err := produce(ctx, e.cfg, e.sim, e.rdb, e.records)
	if err != nil {
		return Report{}, err
	}
	return newReport(e.sim, taps, records, time.Since(begun).Seconds()), nil
}

// produce plays a mini program's back end: it enqueues the taps of its users and waits until
// every cloudID is final.
func produce(
	ctx context.Context, cfg Config, sim *wechattest.Simulator, rdb redis.UniversalClient, results store.Results,
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

// watch looks up the open cloudIDs in pages until all of them are final.
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

// lookup updates the records of open and returns those that are still open.
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
