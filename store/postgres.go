package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// poolSize is the maximum number of connections of a process, unless the DSN sets
// pool_max_conns. A server accepts 100
// (https://www.postgresql.org/docs/current/runtime-config-connection.html), and several workers
// share it.
const poolSize = 10

// ErrDSN is returned for a string that is not a DSN. It quotes nothing of that string.
var ErrDSN = errors.New("not a PostgreSQL connection string, such as postgres://host:5432/database with USER:PASSWORD@ before the host")

// CheckDSN returns [ErrDSN] if dsn is not a PostgreSQL connection string. It does not connect.
func CheckDSN(dsn string) error {
	if _, err := pgxpool.ParseConfig(dsn); err != nil {
		return ErrDSN // pgx's own text masks the password by best effort only
	}
	return nil
}

// errTTL is returned for a TTL with which a record would expire at once.
var errTTL = errors.New("the time that records are kept is less than a millisecond")

// errPostgres is returned for an answer that the functions of the schema never give.
var errPostgres = errors.New("unexpected answer from PostgreSQL")

// Postgres stores records in PostgreSQL (tested with 15), under the rules of the table in
// keys.go. A call is one statement: a function of the schema. With an outbox, Save and Erase
// also write to Redis. The functions and tables are in migrations/. Rows contain no ids, only
// the hashes from which the keys of [Redis] are made. Bodies are sealed as in Redis.
//
// Claims, erasures and expiry use the server's clock. An expired row counts as missing;
// [Postgres.Run] deletes it some time later.
type Postgres struct {
	pool    *pgxpool.Pool
	codec   codec
	ttl     time.Duration
	timeout time.Duration // of one call

	outbox    *Deliveries   // nil = nothing is delivered
	announced sync.Map      // by app hash, when this process last announced the app; see announce
	appIDs    sync.Map      // appids by app hash, for apps with deliveries from this process
	saved     chan struct{} // wakes Run: there are results to relay
	relaying  chan struct{} // holds one entry during a relay; two at once would only share the work
}

var _ Results = (*Postgres)(nil)

// OpenPostgres connects to the server, migrates its schema and returns a store whose records
// expire after ttl. ttl must be at least a millisecond. The caller closes the store.
//
// dsn is a URL or a list of keywords and values. It may contain pgxpool's own settings, such as
// pool_max_conns (https://pkg.go.dev/github.com/jackc/pgx/v5/pgxpool#ParseConfig). Errors
// contain neither the DSN nor its password.
func OpenPostgres(ctx context.Context, dsn string, ttl time.Duration, options ...Option) (*Postgres, error) {
	var with settings
	for _, option := range options {
		option(&with)
	}
	if ttl < time.Millisecond {
		return nil, errTTL
	}
	cfg, err := poolConfig(dsn)
	if err != nil {
		return nil, err
	}
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("opening PostgreSQL: %w", plain(err))
	}
	p := &Postgres{
		pool: pool, codec: codec{with.keyset}, ttl: ttl, timeout: callTimeout,
		outbox: with.outbox, saved: make(chan struct{}, 1), relaying: make(chan struct{}, 1),
	}
	if err := p.prepare(ctx); err != nil {
		pool.Close()
		return nil, err
	}
	return p, nil
}

// poolConfig returns the settings of a DSN, with our defaults for what the DSN does not set.
func poolConfig(dsn string) (*pgxpool.Config, error) {
	cfg, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return nil, ErrDSN // pgx's own text masks the password by best effort only
	}
	if !strings.Contains(dsn, "pool_max_conns") {
		cfg.MaxConns = poolSize
	}
	if cfg.ConnConfig.ConnectTimeout == 0 {
		cfg.ConnConfig.ConnectTimeout = connectTimeout
	}
	if cfg.ConnConfig.RuntimeParams["application_name"] == "" {
		cfg.ConnConfig.RuntimeParams["application_name"] = "cloudidq"
	}
	bound(cfg)
	return cfg, nil
}

// prepare connects to the server, checks the database's isolation level and migrates the
// schema.
func (p *Postgres) prepare(ctx context.Context) error {
	var isolation string
	err := p.within(ctx, func(ctx context.Context) error {
		return p.pool.QueryRow(ctx, "SHOW default_transaction_isolation").Scan(&isolation)
	})
	if err != nil {
		return fmt.Errorf("reaching PostgreSQL: %w", plain(err))
	}
	// Under another isolation level a call would not see what was committed while it waited for
	// its locks.
	if isolation != "read committed" {
		return fmt.Errorf("the database's default_transaction_isolation is %s, not read committed", isolation)
	}
	if err := p.prepareSchema(ctx); err != nil {
		return fmt.Errorf("migrating PostgreSQL: %w", plain(err))
	}
	return nil
}

// Close waits for running calls and closes the connections.
func (p *Postgres) Close() { p.pool.Close() }

// Writable reports whether the database accepts writes; a standby does not. It returns nil, a
// [*RefusedError], or the reason why the database does not answer.
func (p *Postgres) Writable(ctx context.Context) error {
	var readOnly bool
	err := p.within(ctx, func(ctx context.Context) error {
		return p.pool.QueryRow(ctx, "SELECT current_setting('transaction_read_only')::bool").Scan(&readOnly)
	})
	switch {
	case err != nil:
		return fmt.Errorf("reaching PostgreSQL: %w", plain(err))
	case readOnly:
		return &RefusedError{Word: "read-only"}
	}
	return nil
}

// Lookup implements [Results].
func (p *Postgres) Lookup(ctx context.Context, appID string, cloudIDs []string) ([]Record, error) {
	if len(cloudIDs) == 0 {
		return nil, nil
	}
	var records []Record
	var sealed int
	err := p.within(ctx, func(ctx context.Context) (err error) {
		records, sealed, err = p.lookup(ctx, appID, cloudIDs)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("looking up %d records: %w", len(cloudIDs), plain(err))
	}
	if sealed > 0 {
		return records, fmt.Errorf("reading %d of %d records: %w", sealed, len(records), ErrUnreadable)
	}
	return records, nil
}

// lookup returns the records, and how many of them cannot be decrypted.
func (p *Postgres) lookup(ctx context.Context, appID string, cloudIDs []string) (_ []Record, sealed int, _ error) {
	app := appHash(appID)
	rows, err := p.pool.Query(ctx, "SELECT o_n, o_rank, o_body FROM cloudidq_lookup($1, $2)", app[:],
		cloudHashes(appID, len(cloudIDs), func(i int) string { return cloudIDs[i] }))
	if err != nil {
		return nil, 0, err
	}
	defer rows.Close()
	records := make([]Record, len(cloudIDs))
	for rows.Next() {
		var n int
		var rank int16
		var body []byte
		if err := rows.Scan(&n, &rank, &body); err != nil {
			return nil, 0, err
		}
		// n is the position of the cloudID in the call, counted from 1.
		if n < 1 || n > len(records) {
			return nil, 0, errPostgres
		}
		rec, err := p.codec.decodeBody(rankByte(rank), body, appID, cloudIDs[n-1])
		if errors.Is(err, ErrUnreadable) {
			sealed++
		}
		records[n-1] = rec
	}
	return records, sealed, rows.Err()
}

// cloudHashes returns the hash of each of n cloudIDs of one app.
func cloudHashes(appID string, n int, cloudID func(int) string) [][]byte {
	id := append(make([]byte, 0, 256), appID...)
	id = append(id, 0)
	all, out := make([]byte, 0, n*16), make([][]byte, n)
	for i := range out {
		hash := cloudHash(id, cloudID(i))
		all = append(all, hash[:]...)
		out[i] = all[i*16:]
	}
	return out
}

// rankByte converts the rank of a row to the form that the codec uses.
func rankByte(rank int16) byte { return rankPending + byte(rank) }

// rankNumber returns the rank of a status in the form that a row uses.
func rankNumber(s Status) int16 { return int16(rankOf(s) - rankPending) }

// stripes is how many advisory locks an app has. Its users are spread over them. A writer takes
// the locks of its users, shared with other writers. An erasure takes the locks of its user's
// hashes exclusively. Each of them blocks a sixteenth of the app for a moment.
const stripes = 16

// lockSpace is the common prefix of our advisory locks ("clo"), because all programs in a
// database share the lock numbers.
const lockSpace = 0x636c6f << 40

// userLock returns the advisory lock of a user.
func userLock(app [appLen / 2]byte, user []byte) int64 {
	return lockSpace | int64(binary.BigEndian.Uint32(app[:]))<<8 | int64(user[0]%stripes)
}

// locks is a set of advisory locks.
type locks map[int64]struct{}

// add adds the lock of a user. If user is nil there is no user, and add does nothing.
func (l locks) add(app [appLen / 2]byte, user []byte) {
	if user != nil {
		l[userLock(app, user)] = struct{}{}
	}
}

// sorted returns the locks in ascending order. All calls take them in this order, so that they
// do not deadlock.
func (l locks) sorted() []int64 { return slices.Sorted(maps.Keys(l)) }
