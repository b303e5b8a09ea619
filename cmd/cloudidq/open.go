package main

import (
	"context"

	"github.com/redis/go-redis/v9"

	"cloudidq/config"
	"cloudidq/internal/app"
	"cloudidq/internal/open"
)

// loadWithSecrets loads the configuration and all its secrets.
func loadWithSecrets(path string, s streams) (*config.Config, error) {
	return config.LoadSecrets(path, s.lookupEnv, open.CheckStore, open.CheckWebhooks)
}

// options describes this process to package app.
func options(s streams) app.Options {
	return app.Options{Log: s.err, LookupEnv: s.lookupEnv, Version: version, Commit: commit()}
}

// withRedis runs a command of an operator or a producer. It creates the logger and a Redis
// client, which it closes afterwards.
func withRedis(ctx context.Context, s streams, cfg *config.Config, use func(redis.UniversalClient) error) error {
	newLogger(s.err, cfg.Log)
	rdb, err := open.Redis(ctx, cfg, open.RepeatCommands)
	if err != nil {
		return err
	}
	defer func() { _ = rdb.Close() }()
	return use(rdb)
}

// withRecords is withRedis for a command that reads or erases records.
func withRecords(
	ctx context.Context, s streams, cfg *config.Config, use func(redis.UniversalClient, *open.Records) error,
) error {
	if err := cfg.ResolveStore(); err != nil {
		return err
	}
	return withRedis(ctx, s, cfg, func(rdb redis.UniversalClient) error {
		records, err := open.Store(ctx, cfg, rdb)
		if err != nil {
			return err
		}
		defer records.Close()
		return use(rdb, records)
	})
}
