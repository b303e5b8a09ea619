package docs_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// session is a shell that a test types into.
type session struct {
	t      *testing.T
	stdin  io.Writer
	screen *screen
	exited chan struct{}
	n      int    // number of commands so far
	last   string // output of the document's last command
}

// ofCloudidq matches the variables that a new reader has not set.
var ofCloudidq = regexp.MustCompile(`^(?:(?:CLOUDIDQ|OTEL)_|(?:RESULTS_KEYSET|WX_SECRET|API_KEY)=)`)

// environment returns the environment of a document's programs and shell. `make test` sets the build
// flags of the tests themselves, because other flags would compile everything a second time. `make
// test-readme` builds as a reader does.
func environment() []string {
	var env []string
	for _, variable := range os.Environ() {
		if !ofCloudidq.MatchString(variable) {
			env = append(env, variable)
		}
	}
	if flags := os.Getenv("CLOUDIDQ_TEST_GOFLAGS"); flags != "" {
		env = append(env, "GOFLAGS="+flags, "CGO_ENABLED=1", "GORACE=atexit_sleep_ms=0")
	}
	return env
}

// newSession starts bash in a folder. Its jobs stop with the test.
func newSession(t *testing.T, dir string) *session {
	t.Helper()
	s := &session{t: t, screen: &screen{}, exited: make(chan struct{})}
	shell := exec.CommandContext(context.Background(), "bash", "--noprofile", "--norc")
	shell.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // so that a signal reaches its jobs, too
	shell.Dir, shell.Stdout, shell.Stderr = dir, s.screen, s.screen
	shell.Env = environment()
	stdin, err := shell.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := shell.Start(); err != nil {
		t.Fatal(err)
	}
	s.stdin = stdin
	go func() { _ = shell.Wait(); close(s.exited) }()
	t.Cleanup(func() {
		_ = syscall.Kill(-shell.Process.Pid, syscall.SIGTERM)
		select {
		case <-s.exited:
		case <-time.After(20 * time.Second):
			_ = syscall.Kill(-shell.Process.Pid, syscall.SIGKILL)
			<-s.exited
		}
	})
	return s
}

// timeout bounds a command. A build on one processor beside four busy loops takes more than five
// minutes.
const timeout = 20 * time.Minute

// run types a command, waits for it, and returns its exit status and its output.
func (s *session) run(text string) (status, output string) {
	s.t.Helper()
	s.n++
	from, mark := s.screen.len(), fmt.Sprintf("-- end of command %d: ", s.n)
	if _, err := fmt.Fprintf(s.stdin, "%s\necho '%s'$?\n", text, mark); err != nil {
		s.t.Fatalf("%s: %v", text, err)
	}
	if !s.screen.wait(timeout, func(all string) bool {
		var found bool
		output, status, found = strings.Cut(all[from:], mark)
		return found && strings.Contains(status, "\n")
	}, s.exited) {
		s.t.Fatalf("%s: did not finish; output: %s", text, s.screen.String()[from:])
	}
	status, _, _ = strings.Cut(status, "\n")
	return status, output
}

// waitFor returns the output since a background command was typed, once done accepts it or the shell
// exits.
func (s *session) waitFor(from int, done func(output string) bool) string {
	s.screen.wait(timeout, func(all string) bool { return done(all[from:]) }, s.exited)
	return s.screen.String()[from:]
}

// screen collects the output of a shell.
type screen struct {
	mu      sync.Mutex
	b       bytes.Buffer
	changed chan struct{} // closed by the next write
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
	return s.b.Write(p)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func (s *screen) len() int { return len(s.String()) }

// wait waits until done accepts the output, and reports whether it did.
func (s *screen) wait(d time.Duration, done func(string) bool, exited <-chan struct{}) bool {
	deadline := time.After(d)
	for {
		s.mu.Lock()
		if s.changed == nil {
			s.changed = make(chan struct{})
		}
		changed, all := s.changed, s.b.String()
		s.mu.Unlock()
		if done(all) {
			return true
		}
		select {
		case <-changed:
		case <-exited:
			return done(s.String())
		case <-deadline:
			return false
		}
	}
}
