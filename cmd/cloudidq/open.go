package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/redis/go-redis/v9"

	"cloudidq/config"
	"cloudidq/internal/backfill"
	"cloudidq/store"
)

const (
	// repeatCommands is how often go-redis repeats a command whose answer is lost. All commands
	// of cloudidq can be repeated safely.
	repeatCommands = 3
	// neverRepeat is for the asynq servers: a repeated dequeue leaves the first task orphaned.
	neverRepeat = -1

	pingTimeout = 5 * time.Second
)

// loadWithSecrets loads the configuration and all its secrets.
func loadWithSecrets(path string, s streams) (*config.Config, error) {
	return config.LoadSecrets(path, s.lookupEnv, checkStore, checkWebhooks)
}

// checkStore rejects an invalid DSN and an invalid keyset.
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

// keysetOf returns the keyset of the configuration.
func keysetOf(cfg *config.Config) (*store.Keyset, error) {
	keyset, err := store.ParseKeyset(cfg.Store.Keyset.Text().Reveal())
	if err != nil {
		return nil, fmt.Errorf("%w; `cloudidq keys new` prints one", err)
	}
	return keyset, nil
}

// withRedis runs a command of an operator or a producer. It creates the logger and a Redis
// client, which it closes afterwards.
func withRedis(ctx context.Context, s streams, cfg *config.Config, use func(redis.UniversalClient) error) error {
	newLogger(s.err, cfg.Log)
	rdb, err := openRedis(ctx, cfg, repeatCommands)
	if err != nil {
		return err
	}
	defer func() { _ = rdb.Close() }()
	return use(rdb)
}

// withResults is withRedis for a command that reads or erases results.
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

// clockOf returns a function that reads Redis's clock.
func clockOf(rdb redis.Cmdable) func(context.Context) (time.Time, error) {
	return func(ctx context.Context) (time.Time, error) { return rdb.Time(ctx).Result() }
}

// results combines the configured store with its deliveries, its backfills and the set of open
// tasks.
type results struct {
	store.Results
	deliveries *store.Deliveries
	backfills  *backfill.Store
	open       *store.OpenTasks
	postgres   *store.Postgres // nil means that the results are in Redis
}

// openResults opens the configured store. It uses rdb for everything that is in Redis. The
// caller closes the results and rdb.
func openResults(ctx context.Context, cfg *config.Config, rdb redis.UniversalClient) (results, error) {
	keyset, err := sealing(cfg)
	if err != nil {
		return results{}, err
	}
	sealed := store.Sealed(keyset)
	r := results{
		deliveries: store.NewDeliveries(rdb, sealed), backfills: backfill.NewStore(rdb, cfg.Store.ResultTTL, keyset),
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

// sealing returns the keyset that seals records and cloudIDs, or nil if encryption is off.
func sealing(cfg *config.Config) (*store.Keyset, error) {
	if cfg.Store.Encryption == config.EncryptionOff {
		return nil, nil
	}
	keyset, err := keysetOf(cfg)
	if err != nil {
		return nil, cfg.Refuse("store.keyset", err)
	}
	return keyset, nil
}

// Close closes the resources of openResults. It does not close the Redis client.
func (r results) Close() {
	if r.postgres != nil {
		r.postgres.Close()
	}
}

// run does the background work of the store until ctx ends: it deletes expired records and
// relays results to the deliveries. Only PostgreSQL needs it.
func (r results) run(ctx context.Context, log *slog.Logger, handed store.Handed) error {
	if r.postgres == nil {
		return nil
	}
	return r.postgres.Run(ctx, log, handed)
}

// handOver returns the function that relays results to the deliveries, or nil if Save relays
// them itself.
func (r results) handOver() func(context.Context, store.Handed) error {
	if r.postgres == nil {
		return nil
	}
	return r.postgres.HandOver
}

// openRedis returns a client that has successfully reached its Redis. The caller closes it.
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
