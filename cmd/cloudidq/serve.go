package main

import (
	"context"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"cloudidq/config"
)

func newServe(s streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve --config FILE",
		Short: "Run API and worker in one process, until SIGTERM",
		Long: "serve is api and worker together: what a small installation needs. Run as many as you like, beside single ones of\n" +
			"both.",
		Example: "  cloudidq serve --config cloudidq.yaml",
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
		return withService(cmd.Context(), s, cfg, []string{partAPI, partWorker}, func(ctx context.Context, svc *service) error {
			// When one of them ends, so does the other.
			g, ctx := errgroup.WithContext(ctx)
			g.Go(func() error { return runAPI(ctx, svc, cfg) })
			g.Go(func() error { return runWorker(ctx, svc, cfg) })
			return g.Wait()
		})
	}
	return cmd
}
