package store_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"cloudidq/internal/pgtest"
	"cloudidq/internal/redistest"
	"cloudidq/store"
)

// postgresCalls returns every kind of call that a store makes to its server.
func postgresCalls(t *testing.T, p *store.Postgres) map[string]func() error {
	t.Helper()
	rec := full()
	return map[string]func() error{
		"Writable": func() error { return p.Writable(t.Context()) },
		"Claim":    func() error { _, err := p.Claim(t.Context(), claimOf("t", pendingRecord("wx1", "1"))); return err },
		"Save":     func() error { return p.Save(t.Context(), "t", []store.Record{rec}) },
		"Lookup":   func() error { _, err := p.Lookup(t.Context(), rec.AppID, []string{rec.CloudID}); return err },
		"Erase":    func() error { _, err := p.Erase(t.Context(), rec.AppID, rec.OpenID); return err },
		"Sweep":    func() error { _, err := p.Sweep(t.Context()); return err },
		"Relay":    func() error { return p.Relay(t.Context(), nil) },
	}
}

// together makes all calls at once, passes their results to check, and fails the test if a call
// does not return.
func together(t *testing.T, calls map[string]func() error, check func(name string, err error)) {
	t.Helper()
	type answer struct {
		name string
		err  error
	}
	answers := make(chan answer, len(calls))
	for name, call := range calls {
		go func() { answers <- answer{name, call()} }()
	}
	missing := time.After(2 * time.Minute)
	for left := len(calls); left > 0; left-- {
		select {
		case a := <-answers:
			check(a.name, a.err)
		case <-missing:
			t.Fatalf("%d calls never return", left)
		}
	}
}

// If a server stalls, as behind a network that drops packets, no call takes longer than its
// timeout. This holds for calls that have a connection and for calls that need one.
func TestPostgres_ServerStalls_EveryCallReturns(t *testing.T) {
	t.Parallel()
	proxy := newProxy(t, pgtest.Database(t))
	deliveries := store.NewDeliveries(redistest.Start(t).Client(t))
	p := openPostgres(t, proxy.dsn, time.Hour, store.WithOutbox(deliveries))
	t.Cleanup(proxy.resume) // a call that hangs would block the store's Close
	late := func(name string, err error) {
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s of a stalled server = %v, want its deadline", name, err)
		}
	}
	p.SetTimeout(300 * time.Millisecond)
	calls := postgresCalls(t, p)
	proxy.stall()
	together(t, calls, late)
	together(t, postgresCalls(t, p), late) // no usable connection is left
	together(t, map[string]func() error{
		"OpenPostgres": func() error {
			_, err := store.OpenPostgres(t.Context(), proxy.dsn+"&connect_timeout=1", time.Hour)
			return err
		},
		"InspectPostgres": func() error { _, err := store.InspectPostgres(t.Context(), proxy.dsn); return err },
	}, late)

	proxy.resume()
	p.SetTimeout(time.Minute)
	together(t, postgresCalls(t, p), func(name string, err error) {
		if err != nil {
			t.Errorf("%s after the stall = %v", name, err)
		}
	})
}

// If a statement waits for another session's lock, the server cancels it, and the connection
// stays usable for the next call.
func TestPostgres_LockedByAnother_ServerCancelsTheStatement(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	rec := full()
	if err := openPostgres(t, dsn, time.Hour).Save(t.Context(), "t", []store.Record{pendingRecord(rec.AppID, rec.CloudID)}); err != nil {
		t.Fatal(err)
	}
	p := openPostgres(t, dsn+"&statement_timeout=200&pool_max_conns=1", time.Hour)
	other := connect(t, dsn)
	tx, err := other.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "SELECT FROM cloudidq_records FOR UPDATE"); err != nil {
		t.Fatal(err)
	}
	before := backend(t, dsn, "cloudidq")
	together(t, map[string]func() error{
		"Save": func() error { return p.Save(t.Context(), "t", []store.Record{rec}) },
	}, func(name string, err error) {
		if said, ok := errors.AsType[interface {
			error
			SQLState() string
		}](err); !ok || said.SQLState() != "57014" {
			t.Errorf("%s = %v, want the server's query_canceled", name, err)
		}
	})
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := p.Save(t.Context(), "t", []store.Record{rec}); err != nil {
		t.Errorf("Save after the lock = %v", err)
	}
	if after := backend(t, dsn, "cloudidq"); after != before {
		t.Errorf("the connection was replaced: %q, then %q", before, after)
	}
}

// A connection has our statement timeout unless the DSN sets one.
func TestPostgres_StatementTimeout_SetUnlessTheDSNHasIt(t *testing.T) {
	dsn := pgtest.Database(t)
	for query, want := range map[string]string{
		"": "6s", "&statement_timeout=1234": "1234ms", "&options=-c%20statement_timeout%3D77s": "77s",
	} {
		p, err := store.OpenPostgres(t.Context(), dsn+query+"&pool_max_conns=1", time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.Close)
		var got string
		if err := p.QueryRow(t.Context(), "SHOW statement_timeout").Scan(&got); err != nil || got != want {
			t.Errorf("statement_timeout with %q = %s, %v, want %s", query, got, err, want)
		}
	}
}

// backend returns the process ids of the server for the connections with an application name.
func backend(t *testing.T, dsn, name string) string {
	t.Helper()
	var pids string
	err := connect(t, dsn).QueryRow(t.Context(), `SELECT coalesce(string_agg(pid::text, ' ' ORDER BY pid), '') FROM pg_stat_activity
		WHERE datname = current_database() AND application_name = $1`, name).Scan(&pids)
	if err != nil {
		t.Fatal(err)
	}
	return pids
}
