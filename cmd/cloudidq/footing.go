package main

import (
	"context"
	"slices"

	"github.com/redis/go-redis/v9"

	"cloudidq/config"
	"cloudidq/store"
	"cloudidq/worker"
)

// footing is what an API and a worker both stand on.
type footing struct {
	rdb      redis.UniversalClient
	access   *wechatAccess
	store    results
	records  store.Results // of the store, with its calls counted and traced; what is overdue ends where it is looked up
	webhooks []worker.Webhook

	undo []func() // what close does, last first
}

// openFooting opens all of it, or nothing. The caller closes it, behind what stands on it.
func openFooting(ctx context.Context, svc *service, cfg *config.Config) (*footing, error) {
	f := &footing{}
	if err := f.open(ctx, svc, cfg); err != nil {
		f.close()
		return nil, err
	}
	return f, nil
}

func (f *footing) open(ctx context.Context, svc *service, cfg *config.Config) (err error) {
	if f.rdb, err = openRedis(ctx, cfg, repeatCommands); err != nil {
		return err
	}
	f.undo = append(f.undo, func() { _ = f.rdb.Close() })
	if f.access, err = openWeChat(cfg, store.NewTokens(f.rdb), svc); err != nil {
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
