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

// service is what a process that stays up has besides its parts: one log, one registry of metrics, one tracer and one
// ops listener, whichever parts run in it.
type service struct {
	tel *telemetry.Telemetry
	log *slog.Logger
	ops *ops.Server // nil = ops.listen is off

	// The metrics of what more than one part may use; a part registers its own.
	wechat *wechat.Metrics
	store  *store.Metrics
}

// servesAs is what a command does that stays up as one part of a process.
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

// withService runs the parts of a process. When its context ends, /readyz says so first; then the parts stop; then the
// ops listener, so that the stop can be watched; what was logged, counted and traced goes out last.
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
			return nil // a port that is taken is told before anything is begun
		}
	})
	return group.Wait()
}

// opsHosts are the Host headers that the ops listener answers: on a loopback address those of loopback, elsewhere any, since
// a scraper comes by the name of a service and a probe by an address.
func opsHosts(listen string) func(host string) bool {
	if httpapi.LoopbackHost(listen) {
		return httpapi.LoopbackHost
	}
	return nil
}

// openTelemetry makes the telemetry of this process, which is one that runs once or one that stays up. The caller shuts it
// down.
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

// appIDs are the apps and platforms of the configuration.
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

// watchQueues shows what lies in the queues, over a client of its own: a scrape takes no connection from the work, and no
// command of it is repeated.
func watchQueues(cfg *config.Config, r prometheus.Registerer) (stop func(), err error) {
	rdb, err := cfg.Redis.Open(neverRepeat)
	if errors.Is(err, config.ErrEmbedded) {
		return func() {}, nil // the parts say what that means
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

// follow says that a part is up once ready is closed.
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

// checks are what every part needs.
func checks(rdb redis.UniversalClient, r results) []ops.Check {
	writable := store.NewWritable(rdb, tasks.QueueEvents, tasks.QueueBackfill, tasks.QueueWebhooks)
	all := []ops.Check{{Name: "redis", Ask: shown(writable.Ask)}}
	if r.postgres != nil {
		all = append(all, ops.Check{Name: "store", Ask: shown(r.postgres.Writable)})
	}
	return all
}

// shown lets /readyz say that a server is up and takes no writes.
func shown(ask func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		err := ask(ctx)
		if refused, ok := errors.AsType[*store.RefusedError](err); ok {
			return ops.Fault(refused.Error())
		}
		return err
	}
}
