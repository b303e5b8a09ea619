package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"cloudidq/config"
	"cloudidq/internal/wechat"
	"cloudidq/store"
	"cloudidq/tasks"
	"cloudidq/worker"
)

func newWorker(s streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "worker --config FILE",
		Short: "Resolve what is in the queues, until SIGTERM",
		Long: "worker takes cloudIDs from the queues, exchanges them and stores the results. Run as many as you like.\n" +
			"On SIGTERM or SIGINT it finishes what it has in hand or gives it back, within worker.shutdown_timeout.",
		Example: "  cloudidq worker --config cloudidq.yaml",
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
		return runWorker(cmd.Context(), s, cfg)
	}
	return cmd
}

func runWorker(ctx context.Context, s streams, cfg *config.Config) error {
	log := newLogger(s.err, cfg.Log)
	queue, err := openRedis(ctx, cfg, neverRepeat)
	if err != nil {
		return err
	}
	defer func() { _ = queue.Close() }()
	results, err := openRedis(ctx, cfg, repeatCommands)
	if err != nil {
		return err
	}
	defer func() { _ = results.Close() }()
	client, err := wechat.New(wechat.Config{
		BaseURL: cfg.WeChat.BaseURL, Timeout: cfg.WeChat.Timeout, MaxConns: connections(cfg.Apps),
		Tokens: store.NewTokens(results),
	})
	if err != nil {
		return err
	}
	defer client.Close()
	apps, err := workerApps(cfg.Apps, client)
	if err != nil {
		return err
	}
	w, err := worker.New(worker.Config{
		Apps:     apps,
		Lifetime: cfg.CloudIDLifetime,
		Shares: map[string]int{
			tasks.QueueEvents:   cfg.Queues.Events,
			tasks.QueueBackfill: cfg.Queues.Backfill,
		},
		Concurrency:     cfg.Worker.Concurrency,
		Fetchers:        cfg.Worker.Fetchers,
		ShutdownTimeout: cfg.Worker.ShutdownTimeout,
	}, worker.Parts{
		Queue:   queue,
		Results: store.NewRedis(results, cfg.Store.ResultTTL),
		WeChat:  client,
		Pauses:  store.NewPauses(results),
		Rates:   store.NewRates(results),
		Log:     log,
	})
	if err != nil {
		return err
	}
	return w.Run(ctx)
}

func workerApps(apps []config.App, client *wechat.Client) ([]worker.App, error) {
	out := make([]worker.App, len(apps))
	for i, app := range apps {
		tokens, err := tokenSource(app, client)
		if err != nil {
			return nil, err
		}
		out[i] = worker.App{
			AppID: app.AppID, Tokens: tokens, GroupByApp: app.GroupBy == config.GroupByApp,
			BatchMax: app.BatchMax, BatchLinger: app.BatchLinger, MaxInFlight: app.MaxInFlight,
			RatePerMinute: app.RatePerMinute,
		}
	}
	return out, nil
}

func tokenSource(app config.App, client *wechat.Client) (wechat.TokenSource, error) {
	switch app.Token.Mode {
	case config.ModeStable:
		return client.StableToken(app.AppID, app.Token.Secret.Text()), nil
	case config.ModeStatic:
		return wechat.StaticToken(app.Token.AccessToken.Text()), nil
	default:
		return nil, fmt.Errorf("token mode %q of %s has no source", app.Token.Mode, app.AppID)
	}
}

// maxConnections bounds what one process opens towards WeChat, however many apps it serves.
const maxConnections = 4096

// connections is room for every request that may be in flight.
func connections(apps []config.App) int {
	sum := 0
	for _, app := range apps {
		sum += app.MaxInFlight
	}
	return min(sum, maxConnections)
}
