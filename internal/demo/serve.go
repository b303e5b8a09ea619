package demo

import (
	"context"

	"golang.org/x/sync/errgroup"

	"cloudidq/internal/app"
	"cloudidq/tasks"
)

// apps returns the apps of the worker.
func (c *Config) apps() []string {
	if !c.several {
		return []string{appID}
	}
	var ids []string
	for _, app := range crowd {
		ids = append(ids, app.appID)
	}
	return ids
}

// Addresses says where you can reach a demo that stays up.
type Addresses struct {
	API     string // base URL; the status page is at its root, the queues are at /monitoring/
	Metrics string // URL of the metrics
}

// Serve is Run, but it stays up until ctx ends. It serves the API, the status page and the
// queues, and users keep tapping for an hour. It calls reported with the report when the report
// is complete.
func Serve(ctx context.Context, cfg Config, reported func(Report, Addresses) error) error {
	cfg.several = true
	shop, err := newShop(ctx)
	if err != nil {
		return err
	}
	defer shop.close()
	e, err := newEnvironment(ctx, cfg, shop.webhook())
	if err != nil {
		return err
	}
	defer e.close()
	return e.run(ctx, func(ctx context.Context, at app.Addresses) error {
		g, ctx := errgroup.WithContext(ctx)
		g.Go(func() error { return shop.run(ctx) })
		g.Go(func() error {
			producer := tasks.NewClient(e.rdb, tasks.Options{})
			defer producer.Close()
			report, err := e.play(ctx)
			if err == nil {
				err = reported(report, Addresses{API: "http://" + at.API, Metrics: "http://" + at.Ops + "/metrics"})
			}
			if err == nil {
				err = e.load(ctx, producer)
			}
			if ctx.Err() != nil { // the demo has been stopped, so an error is only a consequence
				return nil
			}
			return err
		})
		return g.Wait()
	})
}
