package store

import (
	"context"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// No call waits for ever. A server that works and lets a statement wait, as for a lock, ends it by itself, and the
// connection lives on; of one that does not answer any more the caller is rid a little later, together with the
// connection. Both leave time for the rest of a try: a claim, requests and a save are to end within the task's minute.
const (
	connectTimeout   = 5 * time.Second
	statementTimeout = 6 * time.Second
	callTimeout      = 8 * time.Second // with the wait for a connection
	// pingTimeout is for a connection that has lain idle: where its answer does not come in time, the next is taken.
	pingTimeout = time.Second
)

// keepAlive finds out within half a minute that the other end of a connection is gone.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3}

// statementTimeoutParam is the server's setting; a DSN may have its own.
const statementTimeoutParam = "statement_timeout"

// bound puts the bounds into a pool's settings. That of the server is set on every connection. It is not sent with the
// start of one, since PgBouncer takes no setting there that it does not know (https://www.pgbouncer.org/config.html,
// ignore_startup_parameters).
func bound(cfg *pgxpool.Config) {
	cfg.PingTimeout = pingTimeout
	cfg.ConnConfig.DialFunc = (&net.Dialer{KeepAliveConfig: keepAlive}).DialContext
	own := cfg.ConnConfig.RuntimeParams
	if own[statementTimeoutParam] != "" || strings.Contains(own["options"], statementTimeoutParam) {
		return
	}
	milliseconds := strconv.FormatInt(statementTimeout.Milliseconds(), 10)
	cfg.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		ctx, cancel := context.WithTimeout(ctx, connectTimeout)
		defer cancel()
		// Also a transaction whose process hangs is not to keep its locks.
		_, err := conn.Exec(ctx, "SET "+statementTimeoutParam+" = "+milliseconds+
			"; SET idle_in_transaction_session_timeout = "+milliseconds)
		return err
	}
}

// within makes a call that ends with ctx, or when its time is over.
func (p *Postgres) within(ctx context.Context, call func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	return call(ctx)
}
