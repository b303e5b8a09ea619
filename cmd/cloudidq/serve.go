package main

import (
	"context"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"cloudidq/config"
	"cloudidq/internal/embedded"
)

// newServe returns the command serve.
func newServe(s streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve --config FILE",
		Short: "Run API and worker in one process, until SIGTERM",
		Long: "serve is api and worker together: what a small installation needs. Run as many as you like, beside single ones of\n" +
			"both. With redis.url embedded it brings a Redis for trying out, which ends with it; with embedded://127.0.0.1:PORT\n" +
			"the other commands reach that one, too.",
		Example: "  cloudidq serve --config cloudidq.yaml",
		Args:    takes(cobra.NoArgs),
	}
	path := configFlag(cmd, s)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := loadWithSecrets(*path, s)
		if err != nil {
			return err
		}
		return withEmbedded(cmd.Context(), cfg, func(ctx context.Context) error {
			return withService(ctx, s, cfg, []string{partAPI, partWorker}, func(ctx context.Context, svc *service) error {
				return runServe(ctx, svc, cfg)
			})
		})
	}
	return cmd
}

// runServe runs API and worker until ctx ends or one of them fails.
func runServe(ctx context.Context, svc *service, cfg *config.Config) error {
	if cfg.Redis.Embedded() {
		svc.log.Warn("redis.url is embedded: all that is accepted and stored is gone when this process ends", "redis", cfg.Redis.URL)
	}
	// If one part stops, the other stops too.
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return runAPI(ctx, svc, cfg) })
	g.Go(func() error { return runWorker(ctx, svc, cfg) })
	return g.Wait()
}

// withEmbedded starts the embedded Redis if the configuration wants one, and stops it after
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
