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

// poolSize is how many connections a process holds at most, unless the DSN says pool_max_conns: a server takes 100
// (https://www.postgresql.org/docs/current/runtime-config-connection.html), and workers are several.
const poolSize = 10

// ErrDSN says that a DSN is none. It quotes nothing of it.
var ErrDSN = errors.New("not a PostgreSQL connection string, such as postgres://host:5432/database with USER:PASSWORD@ before the host")

// CheckDSN returns [ErrDSN] for what is none. It connects to nothing.
func CheckDSN(dsn string) error {
	if _, err := pgxpool.ParseConfig(dsn); err != nil {
		return ErrDSN // pgx's own text masks the password as well as it can
	}
	return nil
}

// errTTL is for a TTL that would let a record end as it comes.
var errTTL = errors.New("the time that records are kept is less than a millisecond")

// errPostgres is an answer that the functions of the schema do not give.
var errPostgres = errors.New("unexpected answer from PostgreSQL")

// Postgres keeps records in PostgreSQL (tested with 15), under the rules that keys.go has in a table. A call is one
// statement: a function of the schema, which migrations/ holds with its tables. No id stands in a row, only the hashes
// that the keys of [Redis] are made of; a body is sealed as it is there.
//
// Claims, erasures and the ends of records are moments of the server's clock. What has ended is not there any more, and is
// deleted by [Postgres.Run] some time later.
type Postgres struct {
	pool    *pgxpool.Pool
	codec   codec
	ttl     time.Duration
	timeout time.Duration // of one call

	outbox    *Deliveries   // nil = nothing is delivered
	announced sync.Map      // appids that the outbox is known to know
	appIDs    sync.Map      // the same, by their hash
	owes      chan struct{} // wakes Run: there are ends to hand over
	relaying  chan struct{} // holds one entry while somebody hands over: two at once would share the work of one
}

var _ Results = (*Postgres)(nil)

// OpenPostgres reaches the server, brings its schema up to date and returns a store whose records end after ttl, which
// must be a millisecond or more. The caller closes it.
//
// dsn is a URL or a list of keywords and values, with pgxpool's own settings in it if need be, such as pool_max_conns
// (https://pkg.go.dev/github.com/jackc/pgx/v5/pgxpool#ParseConfig). Neither it nor its password stands in an error.
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
		outbox: with.outbox, owes: make(chan struct{}, 1), relaying: make(chan struct{}, 1),
	}
	if err := p.prepare(ctx); err != nil {
		pool.Close()
		return nil, err
	}
	return p, nil
}

// poolConfig is what a DSN says, and where it says nothing, ours.
func poolConfig(dsn string) (*pgxpool.Config, error) {
	cfg, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return nil, ErrDSN // pgx's own text masks the password as well as it can
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

// prepare reaches the server and readies the database.
func (p *Postgres) prepare(ctx context.Context) error {
	var isolation string
	err := p.within(ctx, func(ctx context.Context) error {
		return p.pool.QueryRow(ctx, "SHOW default_transaction_isolation").Scan(&isolation)
	})
	if err != nil {
		return fmt.Errorf("reaching PostgreSQL: %w", plain(err))
	}
	// Under another one a call would not see what was committed while it waited for its locks.
	if isolation != "read committed" {
		return fmt.Errorf("the database's default_transaction_isolation is %s, not read committed", isolation)
	}
	if err := p.prepareSchema(ctx); err != nil {
		return fmt.Errorf("migrating PostgreSQL: %w", plain(err))
	}
	return nil
}

// Close closes the connections, after the calls that are under way.
func (p *Postgres) Close() { p.pool.Close() }

// Writable reports whether the database takes writes, as a standby does not: nil, a [*RefusedError], or why it does not
// answer.
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

// lookup returns the records, and how many of them cannot be opened.
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

// rankByte is the rank of a row as the codec takes it.
func rankByte(rank int16) byte { return rankPending + byte(rank) }

// rankNumber is the rank of a status as a row has it.
func rankNumber(s Status) int16 { return int16(rankOf(s) - rankPending) }

// stripes is how many advisory locks an app has. A writer takes those of its persons, shared with other writers; an
// erasure takes one for itself, and so holds up a sixteenth of the app for a moment.
const stripes = 16

// lockSpace begins the numbers of our advisory locks, since all programs in a database share them: "clo".
const lockSpace = 0x636c6f << 40

// personLock is the advisory lock of a person.
func personLock(app [appLen / 2]byte, person []byte) int64 {
	return lockSpace | int64(binary.BigEndian.Uint32(app[:]))<<8 | int64(person[0]%stripes)
}

// locks are the advisory locks of several persons, each once, in order.
type locks map[int64]struct{}

func (l locks) add(app [appLen / 2]byte, person []byte) {
	if person != nil {
		l[personLock(app, person)] = struct{}{}
	}
}

func (l locks) sorted() []int64 { return slices.Sorted(maps.Keys(l)) }
