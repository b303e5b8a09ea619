package pgtest_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"cloudidq/internal/pgtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(pgtest.Main(m)) }

func queryRow(t *testing.T, dsn, query string) (answer string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	if err := conn.QueryRow(t.Context(), query).Scan(&answer); err != nil {
		t.Fatal(err)
	}
	return answer
}

func TestDatabase_EmptyOnSharedServer(t *testing.T) {
	first, second := pgtest.Database(t), pgtest.Database(t)
	conn, err := pgx.Connect(t.Context(), first)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	if _, err := conn.Exec(t.Context(), "CREATE TABLE t (a int)"); err != nil {
		t.Fatal(err)
	}
	for dsn, want := range map[string]string{first: "1", second: "0"} {
		if got := queryRow(t, dsn, "SELECT count(*)::text FROM pg_tables WHERE schemaname = 'public'"); got != want {
			t.Errorf("%s tables, want %s", got, want)
		}
	}
	const server = "SHOW data_directory"
	if a, b := queryRow(t, first, server), queryRow(t, second, server); a != b {
		t.Errorf("two servers, in %s and %s, want one", a, b)
	}
}

func TestDatabase_DroppedAfterTest(t *testing.T) {
	var dsn string
	t.Run("inner", func(t *testing.T) { dsn = pgtest.Database(t) })
	if conn, err := pgx.Connect(t.Context(), dsn); err == nil {
		_ = conn.Close(t.Context())
		t.Error("the database exists after its test")
	}
}

func TestStart_SettingsOverride_StopsWithTest(t *testing.T) {
	var addr, dir string
	t.Run("inner", func(t *testing.T) {
		srv := pgtest.Start(t, "fsync=on")
		addr = srv.Addr
		dsn := srv.Database(t)
		dir = queryRow(t, dsn, "SHOW data_directory")
		if got := queryRow(t, dsn, "SHOW fsync"); got != "on" {
			t.Errorf("fsync = %s, want on", got)
		}
	})
	d := net.Dialer{Timeout: time.Second}
	if conn, err := d.DialContext(t.Context(), "tcp", addr); err == nil {
		_ = conn.Close()
		t.Errorf("%s still accepts connections after its test", addr)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("Stat of its data = %v, want that it does not exist", err)
	}
}

func TestStart_InvalidSetting_FailsWithReason(t *testing.T) {
	got := record(t, func(tb testing.TB) { pgtest.Start(tb, "no_such_setting=1") })
	if got.verb == "skip" {
		t.Skip(got.text)
	}
	if got.verb != "fatal" || !strings.Contains(got.text, "no_such_setting") {
		t.Errorf("Start = %s %q, want fatal with the error of the server", got.verb, got.text)
	}
}

func TestBinaries(t *testing.T) {
	root := t.TempDir()
	t.Setenv("PATH", root)
	pattern := filepath.Join(root, "*", "bin")
	if _, err := pgtest.Binaries(pattern); err == nil || !strings.Contains(err.Error(), "apt-get install postgresql") {
		t.Errorf("Binaries without an installation = %v, want the remedy", err)
	}
	for _, name := range []string{"9/bin/initdb", "9/bin/postgres", "16/bin/initdb", "16/bin/postgres", "17/bin/initdb"} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := pgtest.Binaries(pattern); err != nil || got != filepath.Join(root, "16", "bin") {
		t.Errorf("Binaries = %s, %v, want the newest complete version", got, err)
	}
}

// recorder is a [testing.TB] that records how the test would have finished.
type recorder struct {
	testing.TB
	verb, text string
}

type stopped struct{}

func (r *recorder) Skip(args ...any)             { r.stop("skip", fmt.Sprint(args...)) }
func (r *recorder) Fatalf(f string, args ...any) { r.stop("fatal", fmt.Sprintf(f, args...)) }
func (r *recorder) stop(verb, text string)       { r.verb, r.text = verb, text; panic(stopped{}) }

func record(t *testing.T, f func(testing.TB)) (r *recorder) {
	t.Helper()
	r = &recorder{TB: t}
	defer func() {
		if p := recover(); p != nil && p != (stopped{}) {
			panic(p)
		}
	}()
	f(r)
	return r
}
