package main

import (
	"context"

	"github.com/redis/go-redis/v9"

	"cloudidq/config"
	"cloudidq/internal/status"
	"cloudidq/internal/wechat"
	"cloudidq/store"
	"cloudidq/tasks"
)

// newStatus wires what the status page is made of.
func newStatus(cfg *config.Config, rdb redis.UniversalClient, deliveries *store.Deliveries) *status.Collector {
	shown := status.Config{Lifetime: cfg.CloudIDLifetime}
	for _, app := range cfg.Apps {
		shown.Apps = append(shown.Apps, app.AppID)
	}
	for _, hook := range cfg.Webhooks {
		at := status.Webhook{Name: hook.Name}
		for _, app := range cfg.Apps {
			if app.Webhook == hook.Name {
				at.Apps = append(at.Apps, app.AppID)
			}
		}
		shown.Webhooks = append(shown.Webhooks, at)
	}
	return status.New(shown, status.Sources{
		Activity: store.NewRecent(rdb), Pauses: store.NewPauses(rdb), Deliveries: deliveries, Explain: explain,
		Queues: func(ctx context.Context) ([]tasks.Snapshot, error) {
			return tasks.LookAll(ctx, rdb, cfg.CloudIDLifetime)
		},
	})
}

// explain says what an errcode means, and what is to be done about it.
func explain(errcode int) (text, remedy string) {
	known, _ := wechat.LookupCode(errcode)
	return known.Text, known.Remedy
}
