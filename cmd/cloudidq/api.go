package main

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"cloudidq/config"
	"cloudidq/internal/httpapi"
	"cloudidq/internal/monitoring"
	"cloudidq/internal/secret"
	"cloudidq/internal/wechat"
	"cloudidq/internal/wechat/push"
	"cloudidq/store"
	"cloudidq/tasks"
	"cloudidq/worker"
)

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
	path := configFlag(cmd, s)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := config.Load(*path, s.lookupEnv)
		if err != nil {
			return err
		}
		if err := cfg.ResolveSecrets(); err != nil {
			return err
		}
		return withService(cmd.Context(), s, cfg, []string{partAPI}, func(ctx context.Context, svc *service) error {
			return runAPI(ctx, svc, cfg)
		})
	}
	return cmd
}

func runAPI(ctx context.Context, svc *service, cfg *config.Config) error {
	log := svc.log
	rdb, err := openRedis(ctx, cfg, repeatCommands)
	if err != nil {
		return err
	}
	defer func() { _ = rdb.Close() }()
	access, err := openWeChat(cfg, store.NewTokens(rdb), svc)
	if err != nil {
		return err
	}
	defer access.client.Close()
	platforms, err := pushTargets(cfg, access, rdb)
	if err != nil {
		return err
	}
	results, err := openResults(ctx, cfg, rdb)
	if err != nil {
		return err
	}
	defer results.Close()
	records := store.Observed(results.Results, svc.store, svc.tel.Tracers)
	hooks, closeWebhooks, err := openWebhooks(cfg, svc)
	if err != nil {
		return err
	}
	defer closeWebhooks()
	linger := cfg.API.CommitLinger
	if linger == 0 {
		linger = -1 // not at all, for the client
	}
	producer := tasks.NewClient(rdb, tasks.Options{CommitLinger: linger, Tracers: svc.tel.Tracers})
	defer producer.Close()
	pages, err := monitoring.New(rdb)
	if err != nil {
		return err
	}
	server, err := httpapi.New(httpapi.Config{Listen: cfg.API.Listen, Keys: apiKeys(cfg), TLS: apiTLS(cfg)}, httpapi.Parts{
		Producer: producer, Results: records, Deliveries: results.deliveries, Webhooks: newAPIWebhooks(rdb, results.deliveries, hooks),
		Backfills: results.backfills, Load: newQueueLoad(rdb, cfg.API.MaxPending, log), Requests: store.NewRequests(rdb), Serves: cfg.Serves,
		Webhook:   func(name string) bool { _, found := cfg.Webhook(name); return found },
		Platforms: platforms, Log: log, Status: newStatus(cfg, rdb, results), Monitoring: pages,
		Metrics: httpapi.NewMetrics(svc.tel.Registry), Tracers: svc.tel.Tracers,
	})
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return server.Run(ctx) })
	group.Go(func() error { return svc.follow(ctx, partAPI, server.Ready(), checks(rdb, results)...) })
	return group.Wait()
}

// pushTarget is a third-party platform as its events change it: what they say is kept, and the app starts or stops in
// every worker.
type pushTarget struct {
	*push.Codec
	*wechat.Platform
	pauses *store.Pauses
}

// Authorize implements [httpapi.Platform].
func (t pushTarget) Authorize(ctx context.Context, appID string, code secret.Text, created time.Time) error {
	if err := t.Platform.Authorize(ctx, appID, code, created); err != nil {
		return err
	}
	return t.follow(ctx, appID)
}

// Unauthorize implements [httpapi.Platform].
func (t pushTarget) Unauthorize(ctx context.Context, appID string, created time.Time) error {
	if err := t.Platform.Unauthorize(ctx, appID, created); err != nil {
		return err
	}
	return t.follow(ctx, appID)
}

// follow starts or stops the app as what is kept says, which is not the event's word where a newer one has come.
func (t pushTarget) follow(ctx context.Context, appID string) error {
	authorised, err := t.Authorized(ctx, appID)
	if err != nil {
		return err
	}
	if authorised {
		return worker.StartApp(ctx, t.pauses, appID)
	}
	return worker.StopApp(ctx, t.pauses, appID)
}

func pushTargets(cfg *config.Config, access *wechatAccess, rdb redis.UniversalClient) (map[string]httpapi.Platform, error) {
	targets := make(map[string]httpapi.Platform, len(cfg.Components))
	for _, component := range cfg.Components {
		codec, err := push.NewCodec(push.Config{
			AppID: component.AppID, VerifyToken: component.VerifyToken.Text(), AESKey: component.AESKey.Text(),
		})
		if err != nil {
			return nil, err
		}
		targets[component.AppID] = pushTarget{codec, access.platforms[component.AppID], store.NewPauses(rdb)}
	}
	return targets, nil
}
