package main

import (
	"context"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"cloudidq/config"
	"cloudidq/internal/coord"
	"cloudidq/internal/httpapi"
	"cloudidq/internal/monitoring"
	"cloudidq/tasks"
	"cloudidq/worker"
)

// newAPI returns the command that runs the API.
func newAPI(s streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "api --config FILE",
		Short: "Serve the HTTP API, until SIGTERM",
		Long: "api takes cloudIDs, shows records and deliveries, erases, and takes what WeChat pushes to third-party platforms;\n" +
			"/openapi.yaml describes it. At / it shows how everything does, at /monitoring/ the queues. It listens on api.listen,\n" +
			"without api.keys on a loopback address only, with TLS if api.tls has a certificate. Run as many as you like.",
		Example: "  cloudidq api --config cloudidq.yaml",
		Args:    takes(cobra.NoArgs),
	}
	cmd.RunE = servesAs(partAPI, s, configFlag(cmd, s), runAPI)
	return cmd
}

// runAPI runs the API until ctx ends.
func runAPI(ctx context.Context, svc *service, cfg *config.Config) error {
	f, err := openFooting(ctx, svc, cfg)
	if err != nil {
		return err
	}
	defer f.close()
	linger := cfg.API.CommitLinger
	if linger == 0 {
		linger = -1 // for the client, a negative value disables the linger
	}
	producer := tasks.NewClient(f.rdb, tasks.Options{CommitLinger: linger, Tracers: svc.tel.Tracers})
	defer producer.Close()
	server, err := newAPIServer(svc, cfg, f, producer)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return server.Run(ctx) })
	group.Go(func() error { return svc.follow(ctx, partAPI, server.Ready(), checks(f.rdb, f.store)...) })
	return group.Wait()
}

// newAPIServer connects the API server with its dependencies.
func newAPIServer(svc *service, cfg *config.Config, f *footing, producer *tasks.Client) (*httpapi.Server, error) {
	platforms, err := pushTargets(cfg, f.access, f.rdb)
	if err != nil {
		return nil, err
	}
	pages, err := monitoring.New(f.rdb, newEnder(svc, cfg, f))
	if err != nil {
		return nil, err
	}
	settings := httpapi.Config{Listen: cfg.API.Listen, Keys: apiKeys(cfg), TrustedProxies: cfg.API.Proxies(), TLS: apiTLS(cfg)}
	return httpapi.New(settings, httpapi.Parts{
		Producer:   producer,
		Results:    worker.NewEraser(f.records, f.rdb),
		Deliveries: f.store.deliveries,
		Backfills:  f.store.backfills,
		Webhooks:   newAPIWebhooks(f.rdb, f.store.deliveries, f.webhooks),
		Load:       newQueueLoad(f.rdb, cfg.API.MaxPending, svc.log),
		Requests:   coord.NewRequests(f.rdb),
		Serves:     cfg.Serves,
		MayName:    cfg.MayName,
		Platforms:  platforms,
		Status:     newStatus(cfg, f.rdb, f.store),
		Monitoring: pages,
		Log:        svc.log,
		Metrics:    httpapi.NewMetrics(svc.tel.Registry),
		Tracers:    svc.tel.Tracers,
	})
}
