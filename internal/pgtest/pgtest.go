// Package pgtest gives tests a real PostgreSQL.
//
//	func TestMain(m *testing.M) { goleak.VerifyTestMain(pgtest.Main(m)) }
//
//	dsn := pgtest.Database(t) // an empty database, dropped at the end of the test
//
// The tests of a package share one server, because creating one takes a second. It starts with
// the first [Database] and stops after the last test. It listens on a free port of 127.0.0.1 and
// accepts every user without a password. It does not sync to disk, so do not use it for
// measurements. [Start] starts a separate server with the settings that a test needs:
//
//	srv := pgtest.Start(t, "fsync=on", "synchronous_commit=on", "full_page_writes=on")
//	dsn := srv.Database(t)
//
// If PostgreSQL is not installed, the test is skipped with a message. Under CI (the variable CI
// is set and not empty) it fails.
package pgtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"cloudidq/internal/porttest"
)

const (
	portAttempts = 5               // number of ports, if another process takes the held one
	startTimeout = 2 * time.Minute // long, because the machine may be very busy
	pollInterval = 5 * time.Millisecond
	superuser    = "cloudidq"
)

// Server is a running PostgreSQL.
type Server struct {
	Addr string // host:port

	release   func() // releases the port
	dir       string
	cmd       *exec.Cmd
	output    bytes.Buffer  // stdout and stderr; read only after gone is closed
	gone      chan struct{} // closed when the server has exited
	databases atomic.Int64  // number of databases created so far
}

// shared holds the server that all tests of a package use.
var shared struct {
	once   sync.Once
	server *Server
	err    error
}

// Tests runs the tests of a package and then stops their server.
type Tests struct{ m *testing.M }

// Main wraps the argument of a TestMain.
func Main(m *testing.M) Tests { return Tests{m} }

// Run runs the tests, stops the shared server, and returns the exit code of the tests.
func (t Tests) Run() int {
	code := t.m.Run()
	if shared.server != nil {
		shared.server.stop()
	}
	return code
}

// Database creates an empty database in the shared server and returns its DSN. The database is
// dropped at the end of tb.
func Database(tb testing.TB) string {
	tb.Helper()
	shared.once.Do(func() { shared.server, shared.err = start() })
	skipOrFail(tb, shared.err)
	return shared.server.Database(tb)
}

// Start starts a server that is only for tb. settings, for example "fsync=on", override the
// defaults. The server stops at the end of tb.
func Start(tb testing.TB, settings ...string) *Server {
	tb.Helper()
	s, err := start(settings...)
	skipOrFail(tb, err)
	tb.Cleanup(s.stop)
	return s
}

// skipOrFail skips or fails the test if err is not nil.
func skipOrFail(tb testing.TB, err error) {
	tb.Helper()
	switch {
	case errors.Is(err, errMissing) && os.Getenv("CI") == "":
		tb.Skip(err)
	case err != nil:
		tb.Fatalf("starting PostgreSQL: %v", err)
	}
}

// Database is like the function [Database], but uses this server.
func (s *Server) Database(tb testing.TB) string {
	tb.Helper()
	name := "test" + strconv.FormatInt(s.databases.Add(1), 10)
	if err := s.exec("CREATE DATABASE " + name); err != nil {
		tb.Fatalf("creating a database: %v", err)
	}
	tb.Cleanup(func() {
		if err := s.exec("DROP DATABASE " + name + " WITH (FORCE)"); err != nil {
			tb.Errorf("dropping the test's database: %v", err)
		}
	})
	return s.dsn(name)
}

// dsn returns the DSN of a database.
func (s *Server) dsn(database string) string {
	return fmt.Sprintf("postgres://%s@%s/%s?sslmode=disable", superuser, s.Addr, database)
}

// exec runs one statement as the superuser.
func (s *Server) exec(statement string) error {
	// Do not use a test's context: it is canceled before the test's cleanups run.
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.dsn("postgres"))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	_, err = conn.Exec(ctx, statement)
	return err
}

// start creates a cluster and starts its server.
func start(settings ...string) (*Server, error) {
	bin, err := binaries(debian)
	if err != nil {
		return nil, err
	}
	// Do not use the test's directory: the path of a Unix socket is limited to about a hundred
	// bytes.
	dir, err := os.MkdirTemp("", "pgtest")
	if err != nil {
		return nil, err
	}
	s := &Server{dir: dir}
	if err = s.create(bin); err == nil {
		err = s.run(bin, settings)
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return s, nil
}

// create creates the cluster.
func (s *Server) create(bin string) error {
	if err := own(s.dir); err != nil {
		return err
	}
	cmd := s.command(filepath.Join(bin, "initdb"), "--pgdata", s.data(), "--username", superuser, "--auth", "trust",
		"--encoding", "UTF8", "--no-locale", "--no-sync")
	if err := prepare(cmd); err != nil {
		return err
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, out)
	}
	return nil
}

// data returns the data directory.
func (s *Server) data() string { return filepath.Join(s.dir, "data") }

// command returns a command that runs in the server's directory. Another user may not be able to
// read the directory of the test.
func (s *Server) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...) //nolint:noctx // a test's context is canceled before its cleanups run
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "LC_ALL=C", "TZ=UTC")
	return cmd
}

// errExited means that the server exited by itself (port taken, bad setting). Other errors mean
// that it does not respond.
var errExited = errors.New("PostgreSQL has exited")

// run starts the server. If another process takes the port, run tries another port.
func (s *Server) run(bin string, settings []string) (err error) {
	for range portAttempts {
		if s.Addr, s.release, err = porttest.Hold(); err != nil {
			return err
		}
		if err = s.runOnce(bin, settings); err == nil {
			return nil
		}
		s.release()
		if !errors.Is(err, errExited) {
			return err
		}
	}
	return err
}

// runOnce starts the server on s.Addr and waits until it responds.
func (s *Server) runOnce(bin string, settings []string) error {
	_, port, err := net.SplitHostPort(s.Addr)
	if err != nil {
		return err
	}
	args := []string{"-D", s.data(), "-p", port, "-k", s.dir}
	for _, setting := range append([]string{"listen_addresses=127.0.0.1", "max_connections=200",
		"fsync=off", "synchronous_commit=off", "full_page_writes=off"}, settings...) {
		args = append(args, "-c", setting)
	}
	s.cmd, s.gone = s.command(filepath.Join(bin, "postgres"), args...), make(chan struct{})
	s.output.Reset()
	s.cmd.Stdout, s.cmd.Stderr = &s.output, &s.output
	if err := prepare(s.cmd); err != nil {
		return err
	}
	if err := s.cmd.Start(); err != nil {
		return err
	}
	go func() {
		defer close(s.gone)
		_ = s.cmd.Wait() // the error is expected: a signal usually stops it
	}()
	// Wait until it responds, or until it has exited.
	if err := s.await(); err != nil {
		s.kill()
		return fmt.Errorf("%w\n%s", err, s.output.String())
	}
	return nil
}

// await polls until the server responds. Another process may have taken the port, so a response
// counts only if it comes from a server with this data directory.
func (s *Server) await() error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		if s.dataDirectory(ctx) == s.data() {
			return nil
		}
		select {
		case <-tick.C:
		case <-s.gone:
			return errExited
		case <-ctx.Done():
			return errors.New("no answer from PostgreSQL")
		}
	}
}

// dataDirectory returns the data directory of the server at s.Addr, or "" if none responds.
func (s *Server) dataDirectory(ctx context.Context) (dir string) {
	conn, err := pgx.Connect(ctx, s.dsn("postgres"))
	if err != nil {
		return ""
	}
	defer func() { _ = conn.Close(ctx) }()
	if err := conn.QueryRow(ctx, "SHOW data_directory").Scan(&dir); err != nil {
		return ""
	}
	return dir
}

// stop stops the server and removes its files.
func (s *Server) stop() {
	s.kill()
	s.release()
	_ = os.RemoveAll(s.dir) // on an error, files stay in the temporary directory
}

// kill stops the server at once, without a checkpoint, and waits until it has exited.
func (s *Server) kill() {
	_ = s.cmd.Process.Signal(syscall.SIGQUIT) // an error means that it has exited already
	<-s.gone
}
