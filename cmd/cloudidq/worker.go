package main

import (
	"context"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"cloudidq/config"
	"cloudidq/store"
	"cloudidq/tasks"
	"cloudidq/worker"
)

func newWorker(s streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "worker --config FILE",
		Short: "Resolve what is in the queues, until SIGTERM",
		Long: "worker takes cloudIDs from the queues, exchanges them and stores the results. Run as many as you like.\n" +
			"On SIGTERM or SIGINT it finishes what it has in hand or gives it back, within worker.shutdown_timeout.",
		Example: "  cloudidq worker --config cloudidq.yaml",
		Args:    takes(cobra.NoArgs),
	}
	path := configFlag(cmd, s)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := config.Load(*path, s.lookupEnv)
		if err != nil {
			return err
		}
		if err := cfg.ResolveSecrets(); err != nil {
			return err
		}
		return withService(cmd.Context(), s, cfg, []string{partWorker}, func(ctx context.Context, svc *service) error {
			return runWorker(ctx, svc, cfg)
		})
	}
	return cmd
}

func runWorker(ctx context.Context, svc *service, cfg *config.Config) error {
	log := svc.log
	queue, err := openRedis(ctx, cfg, neverRepeat)
	if err != nil {
		return err
	}
	defer func() { _ = queue.Close() }()
	rdb, err := openRedis(ctx, cfg, repeatCommands)
	if err != nil {
		return err
	}
	defer func() { _ = rdb.Close() }()
	access, err := openWeChat(cfg, store.NewTokens(rdb), svc)
	if err != nil {
		return err
	}
	defer access.client.Close()
	apps, err := access.apps(cfg)
	if err != nil {
		return err
	}
	records, err := openResults(ctx, cfg, rdb)
	if err != nil {
		return err
	}
	defer records.Close()
	webhooks, closeWebhooks, err := openWebhooks(cfg, svc)
	if err != nil {
		return err
	}
	defer closeWebhooks()
	parts := worker.Parts{
		Queue:      queue,
		Results:    store.Observed(records.Results, svc.store, svc.tel.Tracers),
		Deliveries: store.ObserveDeliveries(records.deliveries, svc.store, svc.tel.Tracers),
		HandOver:   records.handOver(),
		Backfills:  records.backfills,
		WeChat:     access.client,
		Pauses:     store.NewPauses(rdb),
		Rates:      store.NewRates(rdb),
		Activity:   store.NewActivity(rdb),
		Log:        log,
		Metrics:    svc.tel.Registry,
		Tracers:    svc.tel.Tracers,
		Quotas:     access.client,
		Leases:     store.NewLeases(rdb),
	}
	if len(cfg.Components) > 0 {
		parts.Authorizers = authorizers{access, cfg.Components}
	}
	w, err := worker.New(worker.Config{
		Apps:     apps,
		Webhooks: webhooks,
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
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	tending, stopTending := context.WithCancel(context.WithoutCancel(ctx))
	defer stopTending()
	group.Go(func() error {
		defer stopTending() // behind the worker's last save
		return w.Run(ctx)
	})
	group.Go(func() error { return records.run(tending, log, w.Notify) })
	group.Go(func() error { return svc.follow(ctx, partWorker, w.Ready(), checks(rdb, records)...) })
	return group.Wait()
}
