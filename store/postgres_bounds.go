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

// These timeouts bound every call. If a statement waits too long, for a lock for instance, a
// working server cancels it, and the connection stays usable. If the server no longer answers,
// the caller gives up a little later, and the connection is closed. Both timeouts leave time
// for the rest of an attempt: a claim, requests and a save must finish within the task's
// minute.
const (
	connectTimeout   = 5 * time.Second
	statementTimeout = 6 * time.Second
	callTimeout      = 8 * time.Second // includes the wait for a connection
	// pingTimeout bounds the check of a connection that has been idle. If the answer does not
	// come in time, the pool takes the next connection.
	pingTimeout = time.Second
)

// keepAlive detects within half a minute that the other end of a connection is gone.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3}

// statementTimeoutParam is the server's setting for statementTimeout. A DSN may set it too.
const statementTimeoutParam = "statement_timeout"

// bound adds the timeouts to a pool's settings. It sets the server's timeouts on every
// connection after connecting. It does not send them in the startup message: PgBouncer accepts
// no setting there that it does not know (https://www.pgbouncer.org/config.html,
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
		// A transaction whose process hangs must not keep its locks either.
		_, err := conn.Exec(ctx, "SET "+statementTimeoutParam+" = "+milliseconds+
			"; SET idle_in_transaction_session_timeout = "+milliseconds)
		return err
	}
}

// within makes a call whose context ends with ctx, or after the store's timeout.
func (p *Postgres) within(ctx context.Context, call func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	return call(ctx)
}
