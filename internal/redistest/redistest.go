// Package redistest gives a test a real redis-server of its own.
//
//	srv := redistest.Start(t)
//	rdb := srv.Client(t)
//
// The server listens on a free port of 127.0.0.1, writes into a directory of the test, and ends with the test; it is
// up in some 20 ms, so tests share none. [Server.Kill] and [Server.Restart] play the crash of a server; one
// started with "--appendonly", "yes" has its data back after it:
//
//	srv := redistest.Start(t, "--appendonly", "yes")
//
// A machine without redis-server skips the test and says why; under CI (the variable is set and not empty) it fails.
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
	portTries    = 5               // how often another port is tried where one cannot be held
	startTimeout = 2 * time.Minute // of a machine that is very busy
	pollInterval = 2 * time.Millisecond
)

// Server is a running redis-server. Its methods are for the test's own goroutine, as [testing.TB.Fatal] is.
type Server struct {
	Addr string // host:port, the same after Restart

	tb   testing.TB
	args []string
	dir  string // data and log; removed with the test
	proc *process
}

// Start runs a redis-server with args, which go after the defaults (no snapshots, no append-only file) and win over
// them. It returns once the server answers.
func Start(tb testing.TB, args ...string) *Server {
	tb.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		const why = "redis-server is not installed: apt-get install redis-server, or make test does it"
		if os.Getenv("CI") != "" {
			tb.Fatal(why)
		}
		tb.Skip(why)
	}

	// The directory comes first, so that it is removed after the server has ended.
	s := &Server{tb: tb, args: args, dir: tb.TempDir()}
	tb.Cleanup(s.Kill)

	var err error
	for range portTries {
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

// Client returns a client of the server, closed at the end of tb.
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

// Kill ends the server at once, as a crash would, and returns when it is gone. Killing a dead server does nothing.
func (s *Server) Kill() {
	if s.proc != nil {
		s.proc.kill()
		s.proc = nil
	}
}

// Restart starts the server again on the same port, after a Kill if it still runs.
func (s *Server) Restart() {
	s.tb.Helper()
	s.Kill()
	// Somebody may hold the port for a moment, e.g. as the near end of a connection of theirs.
	deadline := time.Now().Add(startTimeout)
	err := s.start()
	for errors.Is(err, errExited) && time.Now().Before(deadline) {
		err = s.start()
	}
	if err != nil {
		s.tb.Fatalf("restarting redis-server: %v", err)
	}
}

// errExited tells a server that ended by itself (port taken, bad argument) from one that does not answer.
var errExited = errors.New("redis-server has exited")

// start runs the server on s.Addr and waits for its answer.
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

// await polls until p answers. Another process may have won the port, so an answer counts only if it comes from p.
func (s *Server) await(p *process) error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	rdb := redis.NewClient(&redis.Options{Addr: s.Addr, MaxRetries: -1})
	defer func() { _ = rdb.Close() }()

	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	pid := "process_id:" + strconv.Itoa(p.cmd.Process.Pid) + "\r\n"
	for {
		// A server that loads its append-only file answers INFO, but not yet PING. The client writes a line to
		// stderr for every refused connection, so it is kept back until one is accepted.
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

// accepts reports whether somebody listens at addr.
func accepts(ctx context.Context, addr string) bool {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

// tail returns the end of a log file, or nothing.
func tail(path string) string {
	b, _ := os.ReadFile(path) // missing when the server died on its arguments
	return string(b[max(0, len(b)-2000):])
}
