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

// migrationTable is where goose notes what has been applied. Its own name for it may be another program's in the same
// database.
const migrationTable = "cloudidq_migrations"

// How often, in seconds, and how many times a process asks for the lock under which another one migrates.
const (
	migrationPoll  = 1
	migrationPolls = 300
)

// migrateFor bounds all of it: the wait for another process, and what is applied then.
const migrateFor = migrationPoll*migrationPolls*time.Second + time.Minute

// prepareSchema applies the migrations that the database lacks. Where it lacks none, as at every start but the first, that
// is one question, so that a server which stalls is noticed as in any other call.
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

// migrate applies the migrations that the database lacks. Processes that start at once do it one after the other, under
// an advisory lock of the session; a database that knows more migrations than this program is left as it is, so that an
// older worker runs on beside a newer one.
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
	defer func() { _ = db.Close() }() // the pool's connections stay
	provider, err := goose.NewProvider(goose.DialectPostgres, db, files,
		goose.WithSessionLocker(locker), goose.WithTableName(migrationTable), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return err
	}
	_, err = provider.Up(ctx)
	return err
}
