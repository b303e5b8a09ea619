package worker

import (
	"context"
	"errors"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/sync/errgroup"

	"cloudidq/config"
	"cloudidq/internal/activity"
	"cloudidq/internal/coord"
	"cloudidq/internal/open"
	"cloudidq/internal/wechat"
	"cloudidq/store"
	"cloudidq/tasks"
)

// Options are the settings of a worker that its configuration does not have. The zero value
// works.
type Options struct {
	Log     *slog.Logger          // nil = nothing is logged
	Metrics prometheus.Registerer // nil = no metrics; one worker for each registry
	Tracers trace.TracerProvider  // nil = no traces
}

// Opened is a worker with everything that its configuration names. Make one with [Open].
type Opened struct {
	worker  *Worker
	records *open.Records
	log     *slog.Logger
	close   []func()
}

// Open makes a worker that runs inside your own program. cfg is a configuration whose secrets
// are resolved, see [config.LoadSecrets]. Open connects to Redis and to the store, and returns an
// error if one does not answer. Call Run once, and Close after it.
func Open(ctx context.Context, cfg *config.Config, options Options) (*Opened, error) {
	d, err := open.All(ctx, cfg, open.Shared{
		WeChat:  wechat.NewMetrics(options.Metrics, wechat.NewAppLabels(open.AppIDs(cfg)...)),
		Store:   store.NewMetrics(options.Metrics),
		Tracers: options.Tracers, UserAgent: "cloudidq",
	})
	if err != nil {
		return nil, err
	}
	w, err := OpenWith(ctx, cfg, d, options)
	if err != nil {
		d.Close()
		return nil, err
	}
	w.close = append(w.close, d.Close)
	return w, nil
}

// OpenWith is Open for cloudidq's own processes, which have opened their dependencies. The caller
// closes d after the worker.
func OpenWith(ctx context.Context, cfg *config.Config, d *open.Deps, options Options) (*Opened, error) {
	if options.Log == nil {
		options.Log = slog.New(slog.DiscardHandler)
	}
	// The asynq servers have their own client, which repeats no command.
	queue, err := open.Redis(ctx, cfg, open.NeverRepeat)
	if err != nil {
		return nil, err
	}
	w, err := assemble(cfg, d, queue, options)
	if err != nil {
		return nil, errors.Join(err, queue.Close())
	}
	return &Opened{worker: w, records: d.Records, log: options.Log, close: []func(){func() { _ = queue.Close() }}}, nil
}

// Run processes tasks until ctx ends, then stops in order within worker.shutdown_timeout.
func (o *Opened) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	// The store's background work continues until the worker has saved its last records.
	tending, stopTending := context.WithCancel(context.WithoutCancel(ctx))
	defer stopTending()
	group.Go(func() error {
		defer stopTending() // after the worker's last save
		return o.worker.Run(ctx)
	})
	group.Go(func() error { return o.records.Run(tending, o.log, o.worker.Notify) })
	return group.Wait()
}

// Ready returns a channel that is closed once Run accepts tasks.
func (o *Opened) Ready() <-chan struct{} { return o.worker.Ready() }

// Records returns the store of the worker. A lookup expires overdue cloudIDs.
func (o *Opened) Records() store.Results { return o.records }

// Close closes the connections. Call it after Run has returned.
func (o *Opened) Close() {
	for _, f := range o.close {
		f()
	}
}

// assemble connects the worker with its dependencies. queue must never repeat commands.
func assemble(cfg *config.Config, d *open.Deps, queue redis.UniversalClient, options Options) (*Worker, error) {
	apps, err := d.WeChat.Apps(cfg)
	if err != nil {
		return nil, err
	}
	parts := Parts{
		Queue:      queue,
		Results:    d.Observed,
		Deliveries: d.Deliveries(),
		Relay:      d.Records.Relay(),
		Backfills:  d.Records.Backfills,
		Open:       d.Records.OpenTasks,
		WeChat:     d.WeChat.Client,
		Pauses:     coord.NewPauses(d.Redis),
		Rates:      coord.NewRates(d.Redis),
		Activity:   activity.NewRecorder(d.Redis),
		Log:        options.Log,
		Metrics:    options.Metrics,
		Tracers:    options.Tracers,
		Quotas:     d.WeChat.Client,
		Leases:     coord.NewLeases(d.Redis),
	}
	if len(cfg.Components) > 0 {
		parts.Authorizers = d.WeChat.Authorizers(cfg)
	}
	return New(Config{
		Apps:     apps,
		Webhooks: d.Webhooks,
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
