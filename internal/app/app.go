// Package app wires a process of cloudidq from its configuration. It is the only place that
// connects the API, the worker and their dependencies, and that decides in which order they
// start and stop.
//
// [RunAPI], [RunWorker] and [RunServe] are whole processes. Package open opens their dependencies,
// and those of commands that run once.
package app

import (
	"context"
	"io"

	"golang.org/x/sync/errgroup"

	"cloudidq/config"
	"cloudidq/internal/embedded"
)

// Options describe the process around its configuration.
type Options struct {
	Log       io.Writer // the log goes there, one line per record
	LookupEnv func(string) (string, bool)
	Version   string // of the program
	Commit    string // of the build
	// Ready is called once when all parts are up; nil = nothing is called.
	Ready func(Addresses)
}

// Addresses are where the parts of a process listen. An address is empty for a part that the
// process does not have.
type Addresses struct {
	API string // host:port
	Ops string // host:port
}

// RunAPI runs the API until ctx ends.
func RunAPI(ctx context.Context, cfg *config.Config, options Options) error {
	return runProcess(ctx, cfg, options, []string{partAPI}, func(ctx context.Context, p *process) error { return p.runAPI(ctx) })
}

// RunWorker runs the worker until ctx ends, and then until it has stopped in order.
func RunWorker(ctx context.Context, cfg *config.Config, options Options) error {
	return runProcess(ctx, cfg, options, []string{partWorker}, func(ctx context.Context, p *process) error { return p.runWorker(ctx) })
}

// RunServe runs API and worker in one process until ctx ends or one of them fails. It starts
// the embedded Redis if the configuration has one.
func RunServe(ctx context.Context, cfg *config.Config, options Options) error {
	return withEmbedded(ctx, cfg, func(ctx context.Context) error {
		return runProcess(ctx, cfg, options, []string{partAPI, partWorker}, func(ctx context.Context, p *process) error {
			if cfg.Redis.Embedded() {
				p.log.Warn("redis.url is embedded: when this process ends, all tasks and records are lost", "redis", cfg.Redis.URL)
			}
			// If one part stops, the other stops too.
			g, ctx := errgroup.WithContext(ctx)
			g.Go(func() error { return p.runAPI(ctx) })
			g.Go(func() error { return p.runWorker(ctx) })
			return g.Wait()
		})
	})
}

// withEmbedded starts the embedded Redis if the configuration has one, and stops it after
// everything that uses it.
func withEmbedded(ctx context.Context, cfg *config.Config, run func(context.Context) error) error {
	if !cfg.Redis.Embedded() {
		return run(ctx)
	}
	mini, err := embedded.Start(cfg.Redis.EmbeddedAt())
	if err != nil {
		return err
	}
	defer mini.Close()
	cfg.Redis.URL = config.RedisURL("embedded://" + mini.Addr()) // other code can now open it
	// The embedded Redis must run until all parts have stopped.
	aging, stop := context.WithCancel(context.WithoutCancel(ctx))
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { mini.Run(aging); return nil })
	g.Go(func() error { defer stop(); return run(ctx) })
	return g.Wait()
}
