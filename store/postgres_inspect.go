package store

import (
	"context"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// PostgresState is the part of a PostgreSQL server's state on which cloudidq's data depends.
type PostgresState struct {
	Version     string
	Fsync       bool
	SyncCommit  string        // synchronous_commit
	Isolation   string        // default_transaction_isolation
	Replica     bool          // it accepts no writes
	Ahead       time.Duration // how far the server's clock is ahead of ours
	Schema      int64         // the last applied migration; 0 = none
	SchemaKnown int64         // the last migration of this program
	Sealing     Sealing
	// Expired counts records that expired more than ten minutes ago and are not deleted yet, up to
	// 100,000.
	Expired int64
}

// InspectPostgres reads the state of the server of a DSN. Unlike [OpenPostgres] it changes
// nothing. It returns [ErrDSN], or errors that do not contain the DSN.
func InspectPostgres(ctx context.Context, dsn string) (PostgresState, error) {
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		return PostgresState{}, ErrDSN
	}
	cfg.ConnectTimeout = connectTimeout
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return PostgresState{}, fmt.Errorf("reaching PostgreSQL: %w", plain(err))
	}
	defer func() { _ = conn.Close(ctx) }()
	// Durability and writes depend on these settings.
	state := PostgresState{SchemaKnown: lastMigration()}
	var fsync string
	err = conn.QueryRow(ctx, `SELECT current_setting('server_version'), current_setting('fsync'),
		current_setting('synchronous_commit'), current_setting('default_transaction_isolation'), pg_is_in_recovery()`).
		Scan(&state.Version, &fsync, &state.SyncCommit, &state.Isolation, &state.Replica)
	if err != nil {
		return PostgresState{}, fmt.Errorf("reading the settings of PostgreSQL: %w", plain(err))
	}
	state.Fsync = fsync == "on"
	state.Ahead, err = skew(time.Now, func() (clock time.Time, err error) {
		err = conn.QueryRow(ctx, "SELECT clock_timestamp()").Scan(&clock)
		return clock, err
	})
	if err != nil {
		return PostgresState{}, fmt.Errorf("reading the clock of PostgreSQL: %w", plain(err))
	}
	if err := state.inspectSchema(ctx, conn); err != nil {
		return PostgresState{}, fmt.Errorf("reading cloudidq's tables in PostgreSQL: %w", plain(err))
	}
	return state, nil
}

// inspectSchema reads the state of cloudidq's tables, if they exist.
func (s *PostgresState) inspectSchema(ctx context.Context, conn *pgx.Conn) error {
	if err := s.inspectVersion(ctx, conn); err != nil || s.Schema == 0 {
		return err
	}
	// Rows that Run should have deleted long ago. The limit bounds the time of the query.
	err := conn.QueryRow(ctx, `SELECT count(*) FROM (
		SELECT FROM cloudidq_records WHERE expires_at < now() - $1::interval LIMIT 100000) AS old`, 10*time.Minute).Scan(&s.Expired)
	if err != nil {
		return err
	}
	// This is a sample: rows that were saved first tend to be stored first.
	return conn.QueryRow(ctx, `SELECT count(*), count(*) FILTER (WHERE substring(body FROM 1 FOR 1) = '\x7b') FROM (
		SELECT body FROM cloudidq_records WHERE rank < 3 AND expires_at > now() LIMIT $1) AS looked_at`, sealingSteps*sealingPage).
		Scan(&s.Sealing.Seen, &s.Sealing.Unsealed)
}

// inspectVersion reads the number of the last applied migration. It stays 0 if no migration has
// been applied.
func (s *PostgresState) inspectVersion(ctx context.Context, conn *pgx.Conn) error {
	var exists bool
	if err := conn.QueryRow(ctx, "SELECT to_regclass($1) IS NOT NULL", migrationTable).Scan(&exists); err != nil || !exists {
		return err
	}
	return conn.QueryRow(ctx, "SELECT coalesce(max(version_id), 0) FROM "+migrationTable+" WHERE is_applied").Scan(&s.Schema)
}

// lastMigration returns the number of the last migration, which its file name begins with.
func lastMigration() (last int64) {
	names, _ := fs.Glob(migrations, "migrations/*.sql") // no error: the pattern is valid
	for _, name := range names {
		digits, _, _ := strings.Cut(strings.TrimPrefix(name, "migrations/"), "_")
		if n, err := strconv.ParseInt(digits, 10, 64); err == nil {
			last = max(last, n)
		}
	}
	return last
}
