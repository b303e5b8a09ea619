package open

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/redis/go-redis/v9"

	"cloudidq/config"
	"cloudidq/internal/backfill"
	"cloudidq/internal/deliver"
	"cloudidq/store"
)

// CheckStore rejects an invalid DSN and an invalid keyset. It is a check of [config.LoadSecrets].
func CheckStore(cfg *config.Config, refuse func(string, error)) {
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

// Records combines the configured store with its deliveries, its backfills and the set of open
// tasks. A lookup expires overdue cloudIDs.
type Records struct {
	store.Results
	Deliveries *store.Deliveries
	Backfills  *backfill.Store
	OpenTasks  *store.OpenTasks

	stored   store.Results   // without expiry
	postgres *store.Postgres // nil means that the records are in Redis
}

// Store opens the configured store. It uses rdb for everything that is in Redis. The
// caller closes the records and then rdb.
func Store(ctx context.Context, cfg *config.Config, rdb redis.UniversalClient) (*Records, error) {
	keyset, err := sealing(cfg)
	if err != nil {
		return nil, err
	}
	sealed := store.Sealed(keyset)
	r := &Records{
		Deliveries: store.NewDeliveries(rdb, sealed), Backfills: backfill.NewStore(rdb, cfg.Store.ResultTTL, keyset),
		OpenTasks: store.NewOpenTasks(rdb, sealed),
	}
	if r.stored, err = r.openStore(ctx, cfg, rdb, sealed); err != nil {
		return nil, err
	}
	r.Results = store.NewTimely(r.stored, cfg.CloudIDLifetime, clockOf(rdb), deliver.ThinResult)
	return r, nil
}

// openStore opens the store of the configured driver.
func (r *Records) openStore(
	ctx context.Context, cfg *config.Config, rdb redis.UniversalClient, sealed store.Option,
) (store.Results, error) {
	if cfg.Store.Driver == config.DriverRedis {
		return store.NewRedis(rdb, cfg.Store.ResultTTL, sealed), nil
	}
	p, err := store.OpenPostgres(ctx, cfg.Store.DSN.Text().Reveal(), cfg.Store.ResultTTL, sealed, store.WithOutbox(r.Deliveries))
	if errors.Is(err, store.ErrDSN) {
		return nil, cfg.Refuse("store.dsn", err)
	}
	if err != nil {
		return nil, err
	}
	r.postgres = p
	return p, nil
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

// Close closes the store. It does not close the Redis client.
func (r *Records) Close() {
	if r.postgres != nil {
		r.postgres.Close()
	}
}

// Run does the background work of the store until ctx ends: it deletes expired records and
// relays results to the deliveries. Only PostgreSQL needs it.
func (r *Records) Run(ctx context.Context, log *slog.Logger, relayed store.Relayed) error {
	if r.postgres == nil {
		return nil
	}
	return r.postgres.Run(ctx, log, relayed)
}

// Relay returns the function that relays results to the deliveries, or nil if Save puts them
// there itself.
func (r *Records) Relay() func(context.Context, store.Relayed) error {
	if r.postgres == nil {
		return nil
	}
	return r.postgres.Relay
}

// Postgres returns the store in PostgreSQL, or nil if the records are in Redis.
func (r *Records) Postgres() *store.Postgres { return r.postgres }
