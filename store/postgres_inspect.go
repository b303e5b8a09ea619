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

// PostgresState is what a PostgreSQL server says of itself, as far as what cloudidq keeps there depends on it.
type PostgresState struct {
	Version     string
	Fsync       bool
	SyncCommit  string        // synchronous_commit
	Isolation   string        // default_transaction_isolation
	Replica     bool          // it takes no writes
	Ahead       time.Duration // the server's clock beside ours
	Schema      int64         // the last migration that has been applied; 0 = none
	SchemaKnown int64         // the last one that this program has
	Sealing     Sealing
	Expired     int64 // records that have ended more than ten minutes ago and are not deleted; at most 100,000 are counted
}

// InspectPostgres asks the server of a DSN. Unlike [OpenPostgres] it changes nothing. Its errors are [ErrDSN] and texts
// without the DSN.
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
	state := PostgresState{SchemaKnown: lastMigration()}
	var fsync string
	err = conn.QueryRow(ctx, `SELECT current_setting('server_version'), current_setting('fsync'),
		current_setting('synchronous_commit'), current_setting('default_transaction_isolation'), pg_is_in_recovery()`).
		Scan(&state.Version, &fsync, &state.SyncCommit, &state.Isolation, &state.Replica)
	if err != nil {
		return PostgresState{}, fmt.Errorf("asking PostgreSQL for its settings: %w", plain(err))
	}
	state.Fsync = fsync == "on"
	state.Ahead, err = skew(time.Now, func() (clock time.Time, err error) {
		err = conn.QueryRow(ctx, "SELECT clock_timestamp()").Scan(&clock)
		return clock, err
	})
	if err != nil {
		return PostgresState{}, fmt.Errorf("asking PostgreSQL for its clock: %w", plain(err))
	}
	if err := state.inspectSchema(ctx, conn); err != nil {
		return PostgresState{}, fmt.Errorf("asking PostgreSQL for cloudidq's tables: %w", plain(err))
	}
	return state, nil
}

func (s *PostgresState) inspectSchema(ctx context.Context, conn *pgx.Conn) error {
	if err := s.inspectVersion(ctx, conn); err != nil || s.Schema == 0 {
		return err
	}
	err := conn.QueryRow(ctx, `SELECT count(*) FROM (
		SELECT FROM cloudidq_records WHERE expires_at < now() - $1::interval LIMIT 100000) AS old`, 10*time.Minute).Scan(&s.Expired)
	if err != nil {
		return err
	}
	// A sample: what was saved first tends to lie first.
	return conn.QueryRow(ctx, `SELECT count(*), count(*) FILTER (WHERE substring(body FROM 1 FOR 1) = '\x7b') FROM (
		SELECT body FROM cloudidq_records WHERE rank < 3 AND expires_at > now() LIMIT $1) AS looked_at`, sealingSteps*sealingPage).
		Scan(&s.Sealing.Seen, &s.Sealing.Unsealed)
}

// inspectVersion finds out which migrations have been applied.
func (s *PostgresState) inspectVersion(ctx context.Context, conn *pgx.Conn) error {
	var there bool
	if err := conn.QueryRow(ctx, "SELECT to_regclass($1) IS NOT NULL", migrationTable).Scan(&there); err != nil || !there {
		return err
	}
	return conn.QueryRow(ctx, "SELECT coalesce(max(version_id), 0) FROM "+migrationTable+" WHERE is_applied").Scan(&s.Schema)
}

// lastMigration is the number that the name of the last migration begins with.
func lastMigration() (last int64) {
	names, _ := fs.Glob(migrations, "migrations/*.sql") // the pattern is well-formed
	for _, name := range names {
		digits, _, _ := strings.Cut(strings.TrimPrefix(name, "migrations/"), "_")
		if n, err := strconv.ParseInt(digits, 10, 64); err == nil {
			last = max(last, n)
		}
	}
	return last
}
