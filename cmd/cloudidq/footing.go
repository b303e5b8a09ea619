package main

import (
	"context"
	"slices"

	"github.com/redis/go-redis/v9"

	"cloudidq/config"
	"cloudidq/internal/coord"
	"cloudidq/store"
	"cloudidq/worker"
)

// footing holds the dependencies that API and worker share.
type footing struct {
	rdb    redis.UniversalClient
	access *wechatAccess
	store  results
	// The store with metrics and traces. A lookup of an overdue cloudID makes it final.
	records  store.Results
	webhooks []worker.Webhook

	undo []func() // cleanup functions, called by close in reverse order
}

// openFooting opens all dependencies, or none if one fails. The caller closes them, after
// everything that uses them has stopped.
func openFooting(ctx context.Context, svc *service, cfg *config.Config) (*footing, error) {
	f := &footing{}
	if err := f.open(ctx, svc, cfg); err != nil {
		f.close()
		return nil, err
	}
	return f, nil
}

func (f *footing) open(ctx context.Context, svc *service, cfg *config.Config) (err error) {
	// Each step adds its cleanup to undo, so close works after a partial failure.
	if f.rdb, err = openRedis(ctx, cfg, repeatCommands); err != nil {
		return err
	}
	f.undo = append(f.undo, func() { _ = f.rdb.Close() })
	if f.access, err = openWeChat(cfg, coord.NewTokens(f.rdb), svc); err != nil {
		return err
	}
	f.undo = append(f.undo, f.access.client.Close)
	if f.store, err = openResults(ctx, cfg, f.rdb); err != nil {
		return err
	}
	f.undo = append(f.undo, f.store.Close)
	f.records = store.NewTimely(store.Observed(f.store.Results, svc.store, svc.tel.Tracers), cfg.CloudIDLifetime, clockOf(f.rdb))
	webhooks, closeWebhooks, err := openWebhooks(cfg, svc)
	if err != nil {
		return err
	}
	f.webhooks = webhooks
	f.undo = append(f.undo, closeWebhooks)
	return nil
}

func (f *footing) close() {
	for _, undo := range slices.Backward(f.undo) {
		undo()
	}
}
