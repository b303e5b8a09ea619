package main

import (
	"context"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"cloudidq/config"
	"cloudidq/internal/activity"
	"cloudidq/internal/coord"
	"cloudidq/store"
	"cloudidq/tasks"
	"cloudidq/worker"
)

// newWorker returns the command worker.
func newWorker(s streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "worker --config FILE",
		Short: "Resolve what is in the queues, until SIGTERM",
		Long: "worker takes cloudIDs from the queues, exchanges them and stores the results. Run as many as you like.\n" +
			"On SIGTERM or SIGINT it finishes what it has in hand or gives it back, within worker.shutdown_timeout.",
		Example: "  cloudidq worker --config cloudidq.yaml",
		Args:    takes(cobra.NoArgs),
	}
	cmd.RunE = servesAs(partWorker, s, configFlag(cmd, s), runWorker)
	return cmd
}

// runWorker runs the worker until ctx ends.
func runWorker(ctx context.Context, svc *service, cfg *config.Config) error {
	// The asynq servers have their own client, which repeats no command.
	queue, err := openRedis(ctx, cfg, neverRepeat)
	if err != nil {
		return err
	}
	defer func() { _ = queue.Close() }()
	f, err := openFooting(ctx, svc, cfg)
	if err != nil {
		return err
	}
	defer f.close()
	w, err := newTaskWorker(svc, cfg, f, queue)
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
	group.Go(func() error { return f.store.run(tending, svc.log, w.Notify) })
	group.Go(func() error { return svc.follow(ctx, partWorker, w.Ready(), checks(f.rdb, f.store)...) })
	return group.Wait()
}

// newTaskWorker connects the worker with its dependencies. queue must never repeat commands.
func newTaskWorker(svc *service, cfg *config.Config, f *footing, queue redis.UniversalClient) (*worker.Worker, error) {
	apps, err := f.access.apps(cfg)
	if err != nil {
		return nil, err
	}
	parts := worker.Parts{
		Queue:      queue,
		Results:    f.records,
		Deliveries: store.ObserveDeliveries(f.store.deliveries, svc.store, svc.tel.Tracers),
		HandOver:   f.store.handOver(),
		Backfills:  f.store.backfills,
		Open:       f.store.open,
		WeChat:     f.access.client,
		Pauses:     coord.NewPauses(f.rdb),
		Rates:      coord.NewRates(f.rdb),
		Activity:   activity.NewRecorder(f.rdb),
		Log:        svc.log,
		Metrics:    svc.tel.Registry,
		Tracers:    svc.tel.Tracers,
		Quotas:     f.access.client,
		Leases:     coord.NewLeases(f.rdb),
	}
	if len(cfg.Components) > 0 {
		parts.Authorizers = authorizers{f.access, cfg.Components}
	}
	return worker.New(worker.Config{
		Apps:     apps,
		Webhooks: f.webhooks,
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
