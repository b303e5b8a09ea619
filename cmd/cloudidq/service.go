package main

import (
	"context"
	"log/slog"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"cloudidq/config"
	"cloudidq/internal/ops"
	"cloudidq/internal/telemetry"
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
}

// withService runs the parts of a process. When its context ends, /readyz says so first; then the parts stop; then the
// ops listener, so that the stop can be watched; what was logged, counted and traced goes out last.
func withService(
	ctx context.Context, s streams, cfg *config.Config, parts []string, run func(context.Context, *service) error,
) error {
	tel, err := telemetry.New(ctx, telemetry.Config{
		Out: s.err, Level: cfg.Log.Level, Format: cfg.Log.Format, Version: version, Commit: commit(), LookupEnv: s.lookupEnv,
	})
	if err != nil {
		return usageError{err}
	}
	defer tel.Shutdown()
	redis.SetLogger(redisLog{tel.Log})
	svc := &service{tel: tel, log: tel.Log}
	if cfg.Ops.Listen == config.OpsOff {
		return run(ctx, svc)
	}
	svc.ops, err = ops.New(ops.Config{Listen: cfg.Ops.Listen, Parts: parts}, tel.Registry, tel.Log)
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
	all := []ops.Check{{Name: "redis", Ask: func(ctx context.Context) error { return rdb.Ping(ctx).Err() }}}
	if r.postgres != nil {
		all = append(all, ops.Check{Name: "store", Ask: r.postgres.Ping})
	}
	return all
}
