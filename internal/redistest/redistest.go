// Package redistest gives each test a real redis-server.
//
//	srv := redistest.Start(t)
//	rdb := srv.Client(t)
//
// The server listens on a free port of 127.0.0.1, writes into a temporary directory of the test,
// and stops at the end of the test. It starts in about 20 ms, so each test has its own.
// [Server.Kill] and [Server.Restart] simulate a crash. A server that is started with
// "--appendonly", "yes" has its data back after a restart:
//
//	srv := redistest.Start(t, "--appendonly", "yes")
//
// If redis-server is not installed, the test is skipped with a message. Under CI (the variable
// CI is set and not empty) it fails.
package redistest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"cloudidq/internal/porttest"
)

const (
	portAttempts = 5               // number of ports, if another process takes the reserved one
	startTimeout = 2 * time.Minute // long, because the machine may be very busy
	pollInterval = 2 * time.Millisecond
)

// Server is a running redis-server. Call its methods only from the goroutine of the test, as for
// [testing.TB.Fatal].
type Server struct {
	Addr string // host:port, the same after Restart

	tb   testing.TB
	args []string
	dir  string // data and log; removed after the test
	proc *process
}

// Start starts a redis-server and returns once it responds. args follow the defaults (no
// snapshots, no append-only file) and override them.
func Start(tb testing.TB, args ...string) *Server {
	tb.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		const why = "redis-server is not installed; run apt-get install redis-server " +
			"or make test, which installs it"
		if os.Getenv("CI") != "" {
			tb.Fatal(why)
		}
		tb.Skip(why)
	}

	// Create the directory first. Cleanups run in reverse order, so it is removed after the
	// server has exited.
	s := &Server{tb: tb, args: args, dir: tb.TempDir()}
	tb.Cleanup(s.Kill)

	var err error
	for range portAttempts {
		s.Addr = porttest.Reserve(tb)
		if err = s.start(); !errors.Is(err, errExited) {
			break
		}
	}
	if err != nil {
		tb.Fatalf("starting redis-server: %v", err)
	}
	return s
}

// Client returns a client of the server. The client is closed at the end of tb.
func (s *Server) Client(tb testing.TB) *redis.Client {
	tb.Helper()
	rdb := redis.NewClient(&redis.Options{Addr: s.Addr})
	tb.Cleanup(func() {
		if err := rdb.Close(); err != nil && !errors.Is(err, redis.ErrClosed) {
			tb.Errorf("closing the Redis client: %v", err)
		}
	})
	return rdb
}

// Kill kills the server at once, like a crash, and waits until it has exited. Kill does nothing
// if the server is not running.
func (s *Server) Kill() {
	if s.proc != nil {
		s.proc.kill()
		s.proc = nil
	}
}

// Restart starts the server again on the same port. If the server still runs, Restart kills it
// first.
func (s *Server) Restart() {
	s.tb.Helper()
	s.Kill()
	// Another process may use the port for a short time, for example as the local end of a
	// connection.
	deadline := time.Now().Add(startTimeout)
	err := s.start()
	for errors.Is(err, errExited) && time.Now().Before(deadline) {
		err = s.start()
	}
	if err != nil {
		s.tb.Fatalf("restarting redis-server: %v", err)
	}
}

// errExited means that the server exited by itself (port taken, bad argument). Other errors mean
// that it does not respond.
var errExited = errors.New("redis-server has exited")

// start starts the server on s.Addr and waits until it responds.
func (s *Server) start() error {
	_, port, err := net.SplitHostPort(s.Addr)
	if err != nil {
		return err
	}
	logFile := filepath.Join(s.dir, "redis.log")
	p, err := run(append([]string{
		"--bind", "127.0.0.1", "--port", port, "--dir", s.dir, "--logfile", logFile,
		"--save", "", "--appendonly", "no", "--daemonize", "no",
	}, s.args...))
	if err != nil {
		return err
	}
	if err := s.await(p); err != nil {
		p.kill()
		return fmt.Errorf("%w\n%s%s", err, p.output.String(), tail(logFile))
	}
	s.proc = p
	return nil
}

// await polls until p responds. Another process may have taken the port, so a response counts
// only if it comes from p.
func (s *Server) await(p *process) error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	rdb := redis.NewClient(&redis.Options{Addr: s.Addr, MaxRetries: -1})
	defer func() { _ = rdb.Close() }()

	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	pid := "process_id:" + strconv.Itoa(p.cmd.Process.Pid) + "\r\n"
	for {
		// While a server loads its append-only file, it responds to INFO but not to PING. The
		// client writes a line to stderr for each refused connection, so wait until a connection
		// is accepted before using it.
		if accepts(ctx, s.Addr) && rdb.Ping(ctx).Err() == nil &&
			strings.Contains(rdb.Info(ctx, "server").Val(), pid) {
			return nil
		}
		select {
		case <-tick.C:
		case <-p.gone:
			return errExited
		case <-ctx.Done():
			return errors.New("no answer from redis-server")
		}
	}
}

// accepts reports whether a server listens at addr.
func accepts(ctx context.Context, addr string) bool {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

// tail returns the last 2000 bytes of a log file, or "" if there is no file.
func tail(path string) string {
	b, _ := os.ReadFile(path) // missing if the server rejected its arguments
	return string(b[max(0, len(b)-2000):])
}
