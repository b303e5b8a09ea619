package app

import (
	"context"
	"slices"

	"github.com/redis/go-redis/v9"

	"cloudidq/internal/coord"
	"cloudidq/internal/deliver"
	"cloudidq/store"
	"cloudidq/worker"
)

// deps holds the dependencies that API and worker share.
type deps struct {
	rdb      redis.UniversalClient
	wechat   *WeChat
	records  *Records
	observed store.Results // the records with metrics and traces; a lookup expires overdue cloudIDs
	webhooks []worker.Webhook

	cleanup []cleanup // close runs them in reverse order
}

// cleanup releases one dependency. The name is for the reader of openDeps.
type cleanup struct {
	name string
	run  func()
}

// openDeps opens all dependencies, or none if one fails. The caller closes them, after
// everything that uses them has stopped.
func (p *process) openDeps(ctx context.Context) (*deps, error) {
	d := &deps{}
	if err := d.open(ctx, p); err != nil {
		d.close()
		return nil, err
	}
	return d, nil
}

func (d *deps) open(ctx context.Context, p *process) (err error) {
	// Each step adds its cleanup at once, so close works after a partial failure.
	if d.rdb, err = OpenRedis(ctx, p.cfg, RepeatCommands); err != nil {
		return err
	}
	d.onClose("redis", func() { _ = d.rdb.Close() })
	if d.wechat, err = openWeChat(p.cfg, coord.NewTokens(d.rdb), p); err != nil {
		return err
	}
	d.onClose("wechat", d.wechat.Client.Close)
	if d.records, err = OpenRecords(ctx, p.cfg, d.rdb); err != nil {
		return err
	}
	d.onClose("records", d.records.Close)
	observed := store.Observed(d.records.stored, p.store, p.tel.Tracers)
	d.observed = store.NewTimely(observed, p.cfg.CloudIDLifetime, clockOf(d.rdb), deliver.ThinResult)
	webhooks, closeWebhooks, err := openWebhooks(p.cfg, p.userAgent, p.tel.Tracers)
	if err != nil {
		return err
	}
	d.webhooks = webhooks
	d.onClose("webhooks", closeWebhooks)
	return nil
}

func (d *deps) onClose(name string, run func()) { d.cleanup = append(d.cleanup, cleanup{name, run}) }

func (d *deps) close() {
	for _, c := range slices.Backward(d.cleanup) {
		c.run()
	}
}
