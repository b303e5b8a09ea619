package app

import (
	"context"

	"golang.org/x/sync/errgroup"

	"cloudidq/worker"
)

// runWorker runs the worker until ctx ends, and then until it has stopped in order.
func (p *process) runWorker(ctx context.Context) error {
	d, err := p.openDeps(ctx)
	if err != nil {
		return err
	}
	defer d.Close()
	w, err := worker.OpenWith(ctx, p.cfg, d, worker.Options{Log: p.log, Metrics: p.tel.Registry, Tracers: p.tel.Tracers})
	if err != nil {
		return err
	}
	defer w.Close()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return w.Run(ctx) })
	group.Go(func() error { return p.reportReady(ctx, partWorker, w.Ready(), nil, checks(d)...) })
	return group.Wait()
}
