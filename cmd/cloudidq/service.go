package main

import (
	"context"
	"errors"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"cloudidq/config"
	"cloudidq/internal/httpapi"
	"cloudidq/internal/ops"
	"cloudidq/internal/telemetry"
	"cloudidq/internal/wechat"
	"cloudidq/store"
	"cloudidq/tasks"
	"cloudidq/worker"
)

// The parts of a process that stays up.
const (
	partAPI    = "api"
	partWorker = "worker"
)

// service holds what every process that stays up has, whichever parts run in it: one log, one
// registry of metrics, one tracer provider and one ops listener.
type service struct {
	tel *telemetry.Telemetry
	log *slog.Logger
	ops *ops.Server // nil means that ops.listen is off

	// Metrics that several parts may use. Other metrics are registered by their part.
	wechat *wechat.Metrics
	store  *store.Metrics
}

// servesAs returns the RunE function of a command that stays up as one part of a process.
func servesAs(
	part string, s streams, path *string, run func(context.Context, *service, *config.Config) error,
) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, _ []string) error {
		cfg, err := loadWithSecrets(*path, s)
		if err != nil {
			return err
		}
		return withService(cmd.Context(), s, cfg, []string{part}, func(ctx context.Context, svc *service) error {
			return run(ctx, svc, cfg)
		})
	}
}

// withService runs the parts of a process. When ctx ends, /readyz reports it first. Then the
// parts stop, and then the ops listener, so that you can watch the shutdown. Logs, metrics and
// traces are flushed last.
func withService(
	ctx context.Context, s streams, cfg *config.Config, parts []string, run func(context.Context, *service) error,
) error {
	tel, err := openTelemetry(ctx, s, cfg, false)
	if err != nil {
		return err
	}
	defer tel.Shutdown()
	redis.SetLogger(redisLog{tel.Log})
	svc := &service{
		tel: tel, log: tel.Log,
		wechat: wechat.NewMetrics(tel.Registry, wechat.NewAppLabels(appIDs(cfg)...)), store: store.NewMetrics(tel.Registry),
	}
	stopQueues, err := watchQueues(cfg, tel.Registry)
	if err != nil {
		return err
	}
	defer stopQueues()
	if cfg.Ops.Listen == config.OpsOff {
		return run(ctx, svc)
	}
	svc.ops, err = ops.New(ops.Config{Listen: cfg.Ops.Listen, Parts: parts, Hosts: opsHosts(cfg.Ops.Listen)}, tel.Registry, tel.Log)
	if err != nil {
		return err
	}
	// The ops listener stops after the parts, so it has its own context.
	listening, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	group, ctx := errgroup.WithContext(ctx)
	defer context.AfterFunc(ctx, svc.ops.Stopping)()
	group.Go(func() error { return svc.ops.Run(listening) })
	group.Go(func() error {
		defer end()
		select {
		case <-svc.ops.Ready():
			return run(ctx, svc)
		case <-ctx.Done():
			return nil // report a port in use before any part starts
		}
	})
	return group.Wait()
}

// opsHosts returns which Host headers the ops listener accepts. On a loopback address these are
// loopback hosts. On any other address the result is nil, which accepts every host: a scraper
// may use the name of a service, and a probe may use an address.
func opsHosts(listen string) func(host string) bool {
	if httpapi.LoopbackHost(listen) {
		return httpapi.LoopbackHost
	}
	return nil
}

// openTelemetry creates the telemetry of the process. once says whether the process runs once
// or stays up. The caller shuts the telemetry down.
func openTelemetry(ctx context.Context, s streams, cfg *config.Config, once bool) (*telemetry.Telemetry, error) {
	tel, err := telemetry.New(ctx, telemetry.Config{
		Out: s.err, Level: cfg.Log.Level, Format: cfg.Log.Format, Version: version, Commit: commit(), Once: once,
		LookupEnv: s.lookupEnv,
	})
	if err != nil {
		return nil, usageError{err}
	}
	return tel, nil
}

// appIDs returns the appids of all apps and platforms of the configuration.
func appIDs(cfg *config.Config) []string {
	var ids []string
	for _, app := range cfg.Apps {
		ids = append(ids, app.AppID)
	}
	for _, component := range cfg.Components {
		ids = append(ids, component.AppID)
	}
	return ids
}

// watchQueues registers the metrics of the queues. It uses its own Redis client, so that a
// scrape takes no connection from the workers and its commands are not repeated.
func watchQueues(cfg *config.Config, r prometheus.Registerer) (stop func(), err error) {
	rdb, err := cfg.Redis.Open(neverRepeat)
	if errors.Is(err, config.ErrEmbedded) {
		return func() {}, nil // the parts report this error
	}
	if err != nil {
		return nil, err
	}
	queues := worker.NewQueueCollector(rdb)
	if err := r.Register(queues); err != nil {
		queues.Close()
		return nil, err
	}
	return queues.Close, nil
}

// follow marks a part as up after ready is closed.
func (s *service) follow(ctx context.Context, part string, ready <-chan struct{}, checks ...ops.Check) error {
	select {
	case <-ready:
		if s.ops != nil {
			s.ops.Up(part, checks...)
		}
	case <-ctx.Done():
	}
	return nil
}

// checks returns the readiness checks that every part needs.
func checks(rdb redis.UniversalClient, r results) []ops.Check {
	writable := store.NewWritable(rdb, tasks.QueueEvents, tasks.QueueBackfill, tasks.QueueWebhooks)
	all := []ops.Check{{Name: "redis", Ask: shown(writable.Ask)}}
	if r.postgres != nil {
		all = append(all, ops.Check{Name: "store", Ask: shown(r.postgres.Writable)})
	}
	return all
}

// shown makes /readyz report that a server is up but refuses writes.
func shown(ask func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		err := ask(ctx)
		if refused, ok := errors.AsType[*store.RefusedError](err); ok {
			return ops.Fault(refused.Error())
		}
		return err
	}
}
