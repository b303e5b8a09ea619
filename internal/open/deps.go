package open

import (
	"context"
	"slices"

	"github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel/trace"

	"cloudidq/config"
	"cloudidq/internal/coord"
	"cloudidq/internal/deliver"
	"cloudidq/internal/wechat"
	"cloudidq/store"
)

// Shared is what the parts of one process share. The zero value counts and traces nothing.
type Shared struct {
	WeChat    *wechat.Metrics
	Store     *store.Metrics
	Tracers   trace.TracerProvider
	UserAgent string // of requests to webhooks
}

// Deps holds the dependencies of an API or a worker.
type Deps struct {
	Redis    redis.UniversalClient
	WeChat   *Access
	Records  *Records
	Observed store.Results // the records with metrics and traces; a lookup expires overdue cloudIDs
	Webhooks []deliver.Webhook

	shared  Shared
	cleanup []func() // Close runs them in reverse order
}

// All opens all dependencies, or none if one fails. The caller closes them, after everything
// that uses them has stopped.
func All(ctx context.Context, cfg *config.Config, shared Shared) (*Deps, error) {
	d := &Deps{shared: shared}
	if err := d.open(ctx, cfg); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

func (d *Deps) open(ctx context.Context, cfg *config.Config) (err error) {
	// Each step adds its cleanup at once, so Close works after a partial failure.
	if d.Redis, err = Redis(ctx, cfg, RepeatCommands); err != nil {
		return err
	}
	d.onClose(func() { _ = d.Redis.Close() })
	if d.WeChat, err = openWeChat(cfg, coord.NewTokens(d.Redis), d.shared); err != nil {
		return err
	}
	d.onClose(d.WeChat.Client.Close)
	if d.Records, err = Store(ctx, cfg, d.Redis); err != nil {
		return err
	}
	d.onClose(d.Records.Close)
	d.Observed = store.NewTimely(
		store.Observed(d.Records.stored, d.shared.Store, d.shared.Tracers),
		cfg.CloudIDLifetime, clockOf(d.Redis), deliver.ThinResult,
	)
	webhooks, closeWebhooks, err := openWebhooks(cfg, d.shared.UserAgent, d.shared.Tracers)
	if err != nil {
		return err
	}
	d.Webhooks = webhooks
	d.onClose(closeWebhooks)
	return nil
}

// Deliveries returns the deliveries with metrics and traces.
func (d *Deps) Deliveries() *store.ObservedDeliveries {
	return store.ObserveDeliveries(d.Records.Deliveries, d.shared.Store, d.shared.Tracers)
}

func (d *Deps) onClose(run func()) { d.cleanup = append(d.cleanup, run) }

// Close closes the dependencies.
func (d *Deps) Close() {
	for _, run := range slices.Backward(d.cleanup) {
		run()
	}
}
