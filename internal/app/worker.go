package app

import (
	"context"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"cloudidq/internal/activity"
	"cloudidq/internal/coord"
	"cloudidq/store"
	"cloudidq/tasks"
	"cloudidq/worker"
)

// runWorker runs the worker until ctx ends.
func (p *process) runWorker(ctx context.Context) error {
	// The asynq servers have their own client, which repeats no command.
	queue, err := OpenRedis(ctx, p.cfg, NeverRepeat)
	if err != nil {
		return err
	}
	defer func() { _ = queue.Close() }()
	d, err := p.openDeps(ctx)
	if err != nil {
		return err
	}
	defer d.close()
	w, err := p.newWorker(d, queue)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	// The store's background work continues until the worker has saved its last records.
	tending, stopTending := context.WithCancel(context.WithoutCancel(ctx))
	defer stopTending()
	group.Go(func() error {
		defer stopTending() // after the worker's last save
		return w.Run(ctx)
	})
	group.Go(func() error { return d.records.run(tending, p.log, w.Notify) })
	group.Go(func() error { return p.reportReady(ctx, partWorker, w.Ready(), nil, d.checks()...) })
	return group.Wait()
}

// newWorker connects the worker with its dependencies. queue must never repeat commands.
func (p *process) newWorker(d *deps, queue redis.UniversalClient) (*worker.Worker, error) {
	cfg := p.cfg
	apps, err := d.wechat.apps(cfg)
	if err != nil {
		return nil, err
	}
	parts := worker.Parts{
		Queue:      queue,
		Results:    d.observed,
		Deliveries: store.ObserveDeliveries(d.records.Deliveries, p.store, p.tel.Tracers),
		Relay:      d.records.relay(),
		Backfills:  d.records.Backfills,
		Open:       d.records.open,
		WeChat:     d.wechat.Client,
		Pauses:     coord.NewPauses(d.rdb),
		Rates:      coord.NewRates(d.rdb),
		Activity:   activity.NewRecorder(d.rdb),
		Log:        p.log,
		Metrics:    p.tel.Registry,
		Tracers:    p.tel.Tracers,
		Quotas:     d.wechat.Client,
		Leases:     coord.NewLeases(d.rdb),
	}
	if len(cfg.Components) > 0 {
		parts.Authorizers = authorizers{d.wechat, cfg.Components}
	}
	return worker.New(worker.Config{
		Apps:     apps,
		Webhooks: d.webhooks,
		Lifetime: cfg.CloudIDLifetime,
		Shares: map[string]int{
			tasks.QueueEvents:   cfg.Queues.Events,
			tasks.QueueBackfill: cfg.Queues.Backfill,
			tasks.QueueWebhooks: cfg.Queues.Webhooks,
		},
		Concurrency:     cfg.Worker.Concurrency,
		Fetchers:        cfg.Worker.Fetchers,
		ShutdownTimeout: cfg.Worker.ShutdownTimeout,
	}, parts)
}
