package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/redis/go-redis/v9"

	"cloudidq/config"
	"cloudidq/store"
)

const (
	// repeatCommands is how often go-redis repeats a command whose answer did not come. All of ours are harmless twice.
	repeatCommands = 3
	// neverRepeat is for the asynq servers: a dequeue that is repeated leaves the first task behind.
	neverRepeat = -1

	pingTimeout = 5 * time.Second
)

// loadWithSecrets reads the configuration, and every secret that it names.
func loadWithSecrets(path string, s streams) (*config.Config, error) {
	return config.LoadSecrets(path, s.lookupEnv, checkStore, checkWebhooks)
}

// checkStore refuses what is no DSN, and what is no keyset.
func checkStore(cfg *config.Config, refuse func(string, error)) {
	if dsn := cfg.Store.DSN.Text(); !dsn.Empty() {
		if err := store.CheckDSN(dsn.Reveal()); err != nil {
			refuse("store.dsn", err)
		}
	}
	if !cfg.Store.Keyset.Text().Empty() {
		if _, err := keysetOf(cfg); err != nil {
			refuse("store.keyset", err)
		}
	}
}

func keysetOf(cfg *config.Config) (*store.Keyset, error) {
	keyset, err := store.ParseKeyset(cfg.Store.Keyset.Text().Reveal())
	if err != nil {
		return nil, fmt.Errorf("%w; `cloudidq keys new` prints one", err)
	}
	return keyset, nil
}

// withRedis runs one command of an operator or a producer: it makes the logger and a client of Redis, and closes that.
func withRedis(ctx context.Context, s streams, cfg *config.Config, use func(redis.UniversalClient) error) error {
	newLogger(s.err, cfg.Log)
	rdb, err := openRedis(ctx, cfg, repeatCommands)
	if err != nil {
		return err
	}
	defer func() { _ = rdb.Close() }()
	return use(rdb)
}

// withResults is withRedis for what reads or erases results.
func withResults(
	ctx context.Context, s streams, cfg *config.Config, use func(redis.UniversalClient, results) error,
) error {
	if err := cfg.ResolveStore(); err != nil {
		return err
	}
	return withRedis(ctx, s, cfg, func(rdb redis.UniversalClient) error {
		results, err := openResults(ctx, cfg, rdb)
		if err != nil {
			return err
		}
		defer results.Close()
		results.Results = store.NewTimely(results.Results, cfg.CloudIDLifetime, clockOf(rdb))
		return use(rdb, results)
	})
}

// clockOf tells the time by a Redis.
func clockOf(rdb redis.Cmdable) func(context.Context) (time.Time, error) {
	return func(ctx context.Context) (time.Time, error) { return rdb.Time(ctx).Result() }
}

// results is the store of the configuration, what it has to deliver, and the backfills whose they are.
type results struct {
	store.Results
	deliveries *store.Deliveries
	backfills  *store.Backfills
	open       *store.OpenTasks
	postgres   *store.Postgres // nil: they are in Redis
}

// openResults opens the store, over rdb where that is where it is. The caller closes it, and rdb.
func openResults(ctx context.Context, cfg *config.Config, rdb redis.UniversalClient) (results, error) {
	sealed, err := sealing(cfg)
	if err != nil {
		return results{}, err
	}
	r := results{
		deliveries: store.NewDeliveries(rdb, sealed), backfills: store.NewBackfills(rdb, cfg.Store.ResultTTL, sealed),
		open: store.NewOpenTasks(rdb, sealed),
	}
	if cfg.Store.Driver == config.DriverRedis {
		r.Results = store.NewRedis(rdb, cfg.Store.ResultTTL, sealed)
		return r, nil
	}
	p, err := store.OpenPostgres(ctx, cfg.Store.DSN.Text().Reveal(), cfg.Store.ResultTTL, sealed, store.WithOutbox(r.deliveries))
	if errors.Is(err, store.ErrDSN) {
		return results{}, cfg.Refuse("store.dsn", err)
	}
	if err != nil {
		return results{}, err
	}
	r.Results, r.postgres = p, p
	return r, nil
}

func sealing(cfg *config.Config) (store.Option, error) {
	if cfg.Store.Encryption == config.EncryptionOff {
		return store.Sealed(nil), nil
	}
	keyset, err := keysetOf(cfg)
	if err != nil {
		return nil, cfg.Refuse("store.keyset", err)
	}
	return store.Sealed(keyset), nil
}

// Close closes what openResults has opened.
func (r results) Close() {
	if r.postgres != nil {
		r.postgres.Close()
	}
}

// run does what the store does not do by itself until ctx ends: it deletes what has expired, and hands over what is to be
// delivered.
func (r results) run(ctx context.Context, log *slog.Logger, handed store.Handed) error {
	if r.postgres == nil {
		return nil
	}
	return r.postgres.Run(ctx, log, handed)
}

// handOver is nil where a save hands over by itself.
func (r results) handOver() func(context.Context, store.Handed) error {
	if r.postgres == nil {
		return nil
	}
	return r.postgres.HandOver
}

// openRedis returns a client that has reached its Redis. The caller closes it.
func openRedis(ctx context.Context, cfg *config.Config, maxRetries int) (redis.UniversalClient, error) {
	rdb, err := cfg.Redis.Open(maxRetries)
	if errors.Is(err, config.ErrEmbedded) {
		return nil, cfg.Refuse("redis.url", errors.New("is embedded: a Redis inside the process of `cloudidq serve`, at a port that "+
			"nothing else knows; embedded://127.0.0.1:6379 names one, or give the URL of a server"))
	}
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	if err := rdb.Ping(ctx).Err(); err != nil {
		return nil, errors.Join(fmt.Errorf("reaching Redis: %w", err), rdb.Close())
	}
	return rdb, nil
}
