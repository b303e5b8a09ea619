package store

import (
	"context"
	"embed"
	"io/fs"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

//go:embed migrations/*.sql
var migrations embed.FS

// migrationTable is where goose records the applied migrations. Another program in the same
// database may use the default name.
const migrationTable = "cloudidq_migrations"

// How often, in seconds, and how many times a process requests the lock while another process
// migrates.
const (
	migrationPoll  = 1
	migrationPolls = 300
)

// migrateFor bounds the whole migration: the wait for another process, and the migrations
// applied after it.
const migrateFor = migrationPoll*migrationPolls*time.Second + time.Minute

// prepareSchema applies the missing migrations. If none is missing, as at every start but the
// first, it makes one query with the timeout of any other call, so a server that stalls is
// noticed.
func (p *Postgres) prepareSchema(ctx context.Context) error {
	var state PostgresState
	err := p.within(ctx, func(ctx context.Context) error {
		return p.pool.AcquireFunc(ctx, func(conn *pgxpool.Conn) error { return state.inspectVersion(ctx, conn.Conn()) })
	})
	if err != nil || state.Schema >= lastMigration() {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, migrateFor)
	defer cancel()
	return migrate(ctx, p.pool)
}

// migrate applies the missing migrations. Processes that start at once do so one after the
// other, under an advisory lock of the session. If the database has more migrations than this
// program, migrate leaves it unchanged, so that an older worker can run beside a newer one.
func migrate(ctx context.Context, pool *pgxpool.Pool) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(migrationPoll, migrationPolls))
	if err != nil {
		return err
	}
	db := stdlib.OpenDBFromPool(pool)
	defer func() { _ = db.Close() }() // the pool's connections stay open
	provider, err := goose.NewProvider(goose.DialectPostgres, db, files,
		goose.WithSessionLocker(locker), goose.WithTableName(migrationTable), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return err
	}
	_, err = provider.Up(ctx)
	return err
}
