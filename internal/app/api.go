package app

import (
	"context"

	"golang.org/x/sync/errgroup"

	"cloudidq/internal/coord"
	"cloudidq/internal/httpapi"
	"cloudidq/internal/monitoring"
	"cloudidq/internal/open"
	"cloudidq/internal/queue"
	"cloudidq/tasks"
)

// runAPI runs the API until ctx ends.
func (p *process) runAPI(ctx context.Context) error {
	d, err := p.openDeps(ctx)
	if err != nil {
		return err
	}
	defer d.Close()
	linger := p.cfg.API.CommitLinger
	if linger == 0 {
		linger = -1 // for the client, a negative value disables the linger
	}
	producer := tasks.NewClient(d.Redis, tasks.Options{CommitLinger: linger, Tracers: p.tel.Tracers})
	defer producer.Close()
	server, err := p.newAPI(d, producer)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return server.Run(ctx) })
	group.Go(func() error { return p.reportReady(ctx, partAPI, server.Ready(), server.Addr, checks(d)...) })
	return group.Wait()
}

// newAPI connects the API server with its dependencies.
func (p *process) newAPI(d *open.Deps, producer *tasks.Client) (*httpapi.Server, error) {
	cfg := p.cfg
	platforms, err := pushTargets(cfg, d.WeChat, d.Redis)
	if err != nil {
		return nil, err
	}
	pages, err := monitoring.New(d.Redis, p.newFinisher(d))
	if err != nil {
		return nil, err
	}
	settings := httpapi.Config{Listen: cfg.API.Listen, Keys: apiKeys(cfg), TrustedProxies: cfg.API.Proxies(), TLS: apiTLS(cfg)}
	return httpapi.New(settings, httpapi.Parts{
		Producer:   producer,
		Results:    queue.NewEraser(d.Observed, d.Redis),
		Deliveries: d.Records.Deliveries,
		Backfills:  d.Records.Backfills,
		Webhooks:   newAPIWebhooks(d.Redis, d.Records.Deliveries, d.Webhooks),
		Load:       NewQueueLoad(d.Redis, cfg.API.MaxPending, p.log),
		Requests:   coord.NewRequests(d.Redis),
		Serves:     cfg.Serves,
		MayName:    cfg.MayName,
		Platforms:  platforms,
		Status:     newStatus(cfg, d.Redis, d.Records),
		Monitoring: pages,
		Log:        p.log,
		Metrics:    httpapi.NewMetrics(p.tel.Registry),
		Tracers:    p.tel.Tracers,
	})
}
