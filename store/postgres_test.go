package store_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/sync/errgroup"

	"cloudidq/internal/pgtest"
	"cloudidq/internal/redistest"
	"cloudidq/internal/seal/sealtest"
	"cloudidq/store"
	"cloudidq/store/storetest"
)

// openPostgres opens a store over dsn and closes it with the test. Unless dsn sets a statement
// timeout, the store's calls get the time that a very busy machine may need.
func openPostgres(t testing.TB, dsn string, ttl time.Duration, options ...store.Option) *store.Postgres {
	t.Helper()
	const patience = 2 * time.Minute
	if !strings.Contains(dsn, "statement_timeout") {
		dsn += fmt.Sprint("&statement_timeout=", patience.Milliseconds())
	}
	p, err := store.OpenPostgres(t.Context(), dsn, ttl, options...)
	if err != nil {
		t.Fatal(err)
	}
	p.SetTimeout(patience)
	t.Cleanup(p.Close)
	return p
}

// connect returns a connection that bypasses the store.
func connect(t testing.TB, dsn string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func execute(t *testing.T, conn *pgx.Conn, statement string, args ...any) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), statement, args...); err != nil {
		t.Fatal(err)
	}
}

// count counts the rows of a table; from may include a WHERE clause.
func count(t *testing.T, conn *pgx.Conn, from string) (n int) {
	t.Helper()
	if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM "+from).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestPostgres_Contract(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	storetest.Run(t, func(t *testing.T, ttl time.Duration) store.Results { return openPostgres(t, dsn, ttl) })
}

func TestPostgresSealed_Contract(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	keyset, _, _ := sealtest.Keysets(t)
	storetest.Run(t, func(t *testing.T, ttl time.Duration) store.Results {
		return openPostgres(t, dsn, ttl, store.Sealed(keyset))
	})
}

// Stores that open the same new database at once migrate it once, and all of them work.
func TestPostgres_OpenedByManyAtOnce_MigratedOnce(t *testing.T) {
	dsn := pgtest.Database(t)
	var group errgroup.Group
	for range 4 {
		group.Go(func() error {
			p, err := store.OpenPostgres(t.Context(), dsn, time.Hour)
			if err != nil {
				return err
			}
			defer p.Close()
			return p.Save(t.Context(), "task", []store.Record{full()})
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	conn := connect(t, dsn)
	if n := count(t, conn, "cloudidq_migrations WHERE version_id = 1"); n != 1 {
		t.Errorf("the migration was applied %d times, want once", n)
	}
	if n := count(t, conn, "cloudidq_records"); n != 1 {
		t.Errorf("%d records, want 1", n)
	}
}

// An older program must be able to run beside a newer one that has migrated further.
func TestPostgres_DatabaseOfNewerProgram_Opens(t *testing.T) {
	dsn := pgtest.Database(t)
	openPostgres(t, dsn, time.Hour)
	execute(t, connect(t, dsn), "INSERT INTO cloudidq_migrations (version_id, is_applied) VALUES (99, true)")
	openPostgres(t, dsn, time.Hour)
}

// OpenPostgres refuses a TTL below a millisecond, an invalid DSN and an isolation level other
// than read committed. No error quotes the DSN.
func TestOpenPostgres_Refused(t *testing.T) {
	dsn := pgtest.Database(t)
	if _, err := store.OpenPostgres(t.Context(), dsn, time.Microsecond); err == nil {
		t.Error("a ttl of a microsecond is accepted")
	}
	for _, bad := range []string{"postgres://u:planted@host:port/db", "host=h port=planted", "mysql://planted"} {
		if _, err := store.OpenPostgres(t.Context(), bad, time.Hour); !errors.Is(err, store.ErrDSN) || strings.Contains(err.Error(), "planted") {
			t.Errorf("OpenPostgres = %v, want ErrDSN without a word of the DSN", err)
		}
	}
	serializable := dsn + "&default_transaction_isolation=serializable"
	if _, err := store.OpenPostgres(t.Context(), serializable, time.Hour); err == nil || !strings.Contains(err.Error(), "read committed") {
		t.Errorf("OpenPostgres of a serializable database = %v, want an error that names the required level", err)
	}
	_, err := store.OpenPostgres(t.Context(), "postgres://u:planted@127.0.0.1:1/planted?connect_timeout=2", time.Hour)
	if _, ok := errors.AsType[*net.OpError](err); !ok || strings.Contains(err.Error(), "planted") {
		t.Errorf("OpenPostgres without a server = %v, want the network's error and no more", err)
	}
}

// save reports which records were written: none of an erased user, none over a resolved record,
// no pending one over a failed one.
func TestPostgres_Save_ReportsWhatWasWritten(t *testing.T) {
	p := openPostgres(t, pgtest.Database(t), time.Hour)
	resolved, failed, gone := full(), full(), full()
	resolved.CloudID, failed.CloudID, gone.CloudID, gone.OpenID = "r", "f", "g", "o-gone"
	failed.Status = store.Failed
	if _, err := p.Erase(t.Context(), gone.AppID, gone.OpenID); err != nil {
		t.Fatal(err)
	}
	pending := pendingRecord(resolved.AppID, "f")
	for _, step := range []struct {
		task    string
		records []store.Record
		want    []bool
	}{
		{"a", []store.Record{resolved, failed, gone}, []bool{true, true, false}},
		{"b", []store.Record{pending, resolved}, []bool{false, false}},
		{"b", []store.Record{failed, pendingRecord("wx2", "p")}, []bool{true, true}},
		{"c", []store.Record{pendingRecord("wx2", "p")}, []bool{true}},
	} {
		got, err := p.SaveWritten(t.Context(), step.task, step.records)
		if diff := cmp.Diff(step.want, got); err != nil || diff != "" {
			t.Errorf("Save by %s: %v (-want +got):\n%s", step.task, err, diff)
		}
	}
}

// A server's answer may quote a row in its detail; our errors must not.
func TestPostgres_ErrorQuotesNothing(t *testing.T) {
	dsn := pgtest.Database(t)
	p := openPostgres(t, dsn, time.Hour)
	execute(t, connect(t, dsn), "ALTER TABLE cloudidq_records ADD CHECK (rank < 2)")
	err := p.Save(t.Context(), "task", []store.Record{full()})
	if err == nil || !strings.Contains(err.Error(), "SQLSTATE 23514") || strings.Contains(err.Error(), "Failing row") {
		t.Errorf("Save = %v, want code and message alone", err)
	}
	if said, ok := errors.AsType[*pgconn.PgError](err); ok {
		t.Errorf("Save = an error that holds %q", said.Detail)
	}
	if _, err := p.Lookup(t.Context(), "wx1", []string{"1"}); err != nil {
		t.Errorf("Lookup after the error = %v", err)
	}
}

// A row with a broken body counts as missing: Lookup does not know it, and Claim stores a new
// record.
func TestPostgres_UnreadableBody_CountsAsMissing(t *testing.T) {
	dsn := pgtest.Database(t)
	p := openPostgres(t, dsn, time.Hour)
	rec := full()
	for _, broken := range []string{"{", "{}", ""} {
		if err := p.Save(t.Context(), "task", []store.Record{rec}); err != nil {
			t.Fatal(err)
		}
		execute(t, connect(t, dsn), "UPDATE cloudidq_records SET body = $1", []byte(broken))
		if got, err := p.Lookup(t.Context(), rec.AppID, []string{rec.CloudID}); err != nil || got[0].Status != "" {
			t.Errorf("Lookup = %+v, %v, want unknown", got, err)
		}
		pending := pendingRecord(rec.AppID, rec.CloudID)
		got, err := p.Claim(t.Context(), claimOf("task", pending))
		if diff := cmp.Diff([]store.ClaimResult{{State: store.Claimed, Record: pending}}, got); err != nil || diff != "" {
			t.Errorf("Claim: %v (-want +got):\n%s", err, diff)
		}
	}
}

// A call is one round trip, however many records and apps it covers, and none for no records.
func TestPostgres_OneRoundTripPerCall(t *testing.T) {
	dsn := pgtest.Database(t)
	proxy := newProxy(t, dsn)
	keyset, _, _ := sealtest.Keysets(t)
	deliveries := store.NewDeliveries(redistest.Start(t).Client(t), store.Sealed(keyset))
	p := openPostgres(t, proxy.dsn+"&pool_max_conns=1", time.Hour, store.Sealed(keyset), store.WithOutbox(deliveries))
	var many, ofThree []store.Record
	var ids []string
	for i := range 300 {
		ids = append(ids, fmt.Sprint(i))
		many = append(many, pendingRecord("wx1", ids[i]))
		ofThree = append(ofThree, pendingRecord(fmt.Sprint("wx", i%3), ids[i]))
	}
	conn := connect(t, dsn)
	const owe = `INSERT INTO cloudidq_outbox (app, cloud, accepted, endpoint, item, expires_at)
		SELECT '\x01020304', uuid_send(gen_random_uuid()), 0, 'orders', '{}', now() + interval '1 day' FROM generate_series(1, $1)`
	for _, call := range []struct {
		name  string
		trips int
		do    func() error
	}{
		{"Claim", 1, func() error { _, err := p.Claim(t.Context(), claimOf("task", many...)); return err }},
		{"Claim, all Busy", 1, func() error { _, err := p.Claim(t.Context(), claimOf("other", many...)); return err }},
		{"Save", 1, func() error { return p.Save(t.Context(), "task", many) }},
		{"Save of three apps", 1, func() error { return p.Save(t.Context(), "task", ofThree) }},
		{"Save, delivered", 1, func() error { return p.Save(t.Context(), "task", delivered(many)) }},
		{"Relay of 300 results", 3, func() error {
			if n := count(t, conn, "cloudidq_outbox"); n == 0 {
				execute(t, conn, owe, 300)
			}
			return p.Relay(t.Context(), nil)
		}},
		{"Lookup", 1, func() error { _, err := p.Lookup(t.Context(), "wx1", ids); return err }},
		{"Erase", 1, func() error { _, err := p.Erase(t.Context(), "wx1", "o-1"); return err }},
		{"Claim of nothing", 0, func() error { _, err := p.Claim(t.Context(), store.Claim{}); return err }},
		{"Save of nothing", 0, func() error { return p.Save(t.Context(), "task", nil) }},
		{"Lookup of nothing", 0, func() error { _, err := p.Lookup(t.Context(), "wx1", nil); return err }},
	} {
		if err := call.do(); err != nil { // the connection prepares the statement
			t.Fatalf("%s: %v", call.name, err)
		}
		before := proxy.trips.Load()
		if err := call.do(); err != nil {
			t.Fatalf("%s: %v", call.name, err)
		}
		if got := int(proxy.trips.Load() - before); got != call.trips {
			t.Errorf("%s took %d round trips, want %d", call.name, got, call.trips)
		}
	}
}
