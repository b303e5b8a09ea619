// Package pgtest gives tests a real PostgreSQL of their own.
//
//	func TestMain(m *testing.M) { goleak.VerifyTestMain(pgtest.Main(m)) }
//
//	dsn := pgtest.Database(t) // an empty database, gone with the test
//
// The tests of a package share one server, since it takes a second to make one: it starts with the first [Database] and
// ends behind the last test. It listens on a free port of 127.0.0.1 and trusts everybody. It does not sync to disk, so
// it is no place to measure; [Start] runs another, with settings of the test's own:
//
//	srv := pgtest.Start(t, "fsync=on", "synchronous_commit=on", "full_page_writes=on")
//	dsn := srv.Database(t)
//
// A machine without PostgreSQL skips the test and says why; under CI (the variable is set and not empty) it fails.
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
	portTries    = 5               // how often another port is tried where one cannot be held
	startTimeout = 2 * time.Minute // of a machine that is very busy
	pollInterval = 5 * time.Millisecond
	superuser    = "cloudidq"
)

// Server is a running PostgreSQL.
type Server struct {
	Addr string // host:port

	release   func() // lets go of the port
	dir       string
	cmd       *exec.Cmd
	output    bytes.Buffer  // what it has said; read after gone
	gone      chan struct{} // closed when it has ended
	databases atomic.Int64  // how many there have been
}

// shared is the server of all tests of a package.
var shared struct {
	once   sync.Once
	server *Server
	err    error
}

// Tests are the tests of a package, with the end of their server behind them.
type Tests struct{ m *testing.M }

// Main wraps what a TestMain is given.
func Main(m *testing.M) Tests { return Tests{m} }

// Run runs the tests and ends the server that they have shared.
func (t Tests) Run() int {
	code := t.m.Run()
	if shared.server != nil {
		shared.server.stop()
	}
	return code
}

// Database makes an empty database in the package's server and returns its DSN. It is dropped at the end of tb.
func Database(tb testing.TB) string {
	tb.Helper()
	shared.once.Do(func() { shared.server, shared.err = start() })
	giveUp(tb, shared.err)
	return shared.server.Database(tb)
}

// Start runs a server for tb alone, with settings such as "fsync=on", which win over the defaults.
func Start(tb testing.TB, settings ...string) *Server {
	tb.Helper()
	s, err := start(settings...)
	giveUp(tb, err)
	tb.Cleanup(s.stop)
	return s
}

func giveUp(tb testing.TB, err error) {
	tb.Helper()
	switch {
	case errors.Is(err, errMissing) && os.Getenv("CI") == "":
		tb.Skip(err)
	case err != nil:
		tb.Fatalf("starting PostgreSQL: %v", err)
	}
}

// Database is [Database] in this server.
func (s *Server) Database(tb testing.TB) string {
	tb.Helper()
	name := "test" + strconv.FormatInt(s.databases.Add(1), 10)
	if err := s.exec("CREATE DATABASE " + name); err != nil {
		tb.Fatalf("making a database: %v", err)
	}
	tb.Cleanup(func() {
		if err := s.exec("DROP DATABASE " + name + " WITH (FORCE)"); err != nil {
			tb.Errorf("dropping the test's database: %v", err)
		}
	})
	return s.dsn(name)
}

func (s *Server) dsn(database string) string {
	return fmt.Sprintf("postgres://%s@%s/%s?sslmode=disable", superuser, s.Addr, database)
}

// exec runs one statement as the superuser.
func (s *Server) exec(statement string) error {
	// No context of a test: that ends before its cleanups run.
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

// start makes a cluster and runs its server.
func start(settings ...string) (*Server, error) {
	bin, err := binaries(debian)
	if err != nil {
		return nil, err
	}
	// Not the test's directory: the name of a socket has room for a hundred bytes.
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

// create makes the cluster.
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

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

// command runs in the server's directory: the test's may be closed to another user.
func (s *Server) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...) //nolint:noctx // a test's context ends before its cleanups need the server
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "LC_ALL=C", "TZ=UTC")
	return cmd
}

// errExited tells a server that ended by itself (port taken, bad setting) from one that does not answer.
var errExited = errors.New("PostgreSQL has exited")

func (s *Server) run(bin string, settings []string) (err error) {
	for range portTries {
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

// runOnce runs the server on s.Addr and waits for its answer.
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
		_ = s.cmd.Wait() // ended by a signal, as a rule
	}()
	if err := s.await(); err != nil {
		s.end()
		return fmt.Errorf("%w\n%s", err, s.output.String())
	}
	return nil
}

// await polls until the server answers. Another process may have won the port, so an answer counts only if it comes from
// this one's directory.
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

// stop ends the server and removes what it has written.
func (s *Server) stop() {
	s.end()
	s.release()
	_ = os.RemoveAll(s.dir) // what stays is in the machine's temporary files
}

// end has the server end at once, without a checkpoint, and returns when it is gone.
func (s *Server) end() {
	_ = s.cmd.Process.Signal(syscall.SIGQUIT) // an error means it has ended already
	<-s.gone
}
