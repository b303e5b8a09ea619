package app

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"cloudidq/config"
	"cloudidq/internal/deliver"
	"cloudidq/internal/httpapi"
	"cloudidq/internal/open"
	"cloudidq/store"
	"cloudidq/worker"
)

// apiKeys returns the API keys of the configuration.
func apiKeys(cfg *config.Config) []httpapi.Key {
	keys := make([]httpapi.Key, 0, len(cfg.API.Keys))
	for _, key := range cfg.API.Keys {
		scopes := make([]httpapi.Scope, 0, len(key.Scopes))
		for _, scope := range key.Scopes {
			scopes = append(scopes, httpapi.Scope(scope))
		}
		made := httpapi.NewKey(key.Name, key.Secret.Text(), scopes, key.AppIDs)
		made.NotAfter = key.End()
		keys = append(keys, made)
	}
	return keys
}

// apiTLS returns a function that reads the configured certificate, or nil if there is none.
func apiTLS(cfg *config.Config) func() (httpapi.TLS, error) {
	if cfg.API.TLS.Cert.IsZero() {
		return nil
	}
	return func() (httpapi.TLS, error) {
		t, err := cfg.ReadAPITLS()
		return httpapi.TLS{Cert: t.Cert.Text(), Key: t.Key.Text(), ClientCA: t.ClientCA.Text()}, err
	}
}

// newFinisher creates the part that finalizes the cloudIDs of tasks deleted at /monitoring/.
func (p *process) newFinisher(d *open.Deps) *worker.Finisher {
	return worker.NewFinisher(worker.FinisherParts{
		Queue: d.Redis, Results: d.Observed, Backfills: d.Records.Backfills, Webhooks: d.Webhooks,
		Endpoint: func(ctx context.Context, appID string) (string, error) {
			return open.WebhookOf(ctx, p.cfg, d.WeChat, appID)
		},
		Lifetime: p.cfg.CloudIDLifetime, Log: p.log,
	})
}

// apiWebhooks implements [httpapi.Webhooks].
type apiWebhooks struct {
	*deliver.Replayer
	hooks map[string]deliver.Webhook
}

// newAPIWebhooks returns the API's access to the given webhooks.
func newAPIWebhooks(rdb redis.UniversalClient, d *store.Deliveries, hooks []deliver.Webhook) *apiWebhooks {
	w := &apiWebhooks{
		Replayer: deliver.NewReplayer(d, asynq.NewClientFromRedisClient(rdb), asynq.NewInspectorFromRedisClient(rdb)),
		hooks:    make(map[string]deliver.Webhook, len(hooks)),
	}
	for _, hook := range hooks {
		w.hooks[hook.Name] = hook
	}
	return w
}

// Test implements [httpapi.Webhooks].
func (w *apiWebhooks) Test(ctx context.Context, name string) (store.Attempt, bool) {
	hook, known := w.hooks[name]
	if !known {
		return store.Attempt{}, false
	}
	now := store.At(time.Now())
	// The test message has its own type, so a receiver can recognize it.
	body, _ := json.Marshal(map[string]any{"type": "webhook.test", "timestamp": now, "data": map[string]string{"webhook": name}})
	attempt := hook.Sender.Send(ctx, "msg_test_"+rand.Text(), body)
	return store.Attempt{
		At: now, Status: attempt.Status, Class: string(attempt.Class), Error: attempt.Class.Explain(),
		DurationMS: attempt.Duration.Milliseconds(),
	}, true
}
