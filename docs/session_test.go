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

// session is a shell that somebody types into.
type session struct {
	t     *testing.T
	typed io.Writer
	said  *screen
	ended chan struct{}
	n     int
	last  string // what the last command of a document said
}

// ofCloudidq are the variables that a reader who begins has not set.
var ofCloudidq = regexp.MustCompile(`^(?:(?:CLOUDIDQ|OTEL)_|(?:RESULTS_KEYSET|WX_SECRET|API_KEY)=)`)

// environment is what a program or a shell of a document starts with. `make test` says with which flags to build, which are
// those of the tests themselves: with an empty cache, everything would be compiled a second time otherwise. `make
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

// newSession opens bash in a folder. Its jobs end with the test.
func newSession(t *testing.T, dir string) *session {
	t.Helper()
	s := &session{t: t, said: &screen{}, ended: make(chan struct{})}
	shell := exec.CommandContext(context.Background(), "bash", "--noprofile", "--norc")
	shell.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // so that its jobs can be ended with it
	shell.Dir, shell.Stdout, shell.Stderr = dir, s.said, s.said
	shell.Env = environment()
	stdin, err := shell.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := shell.Start(); err != nil {
		t.Fatal(err)
	}
	s.typed = stdin
	go func() { _ = shell.Wait(); close(s.ended) }()
	t.Cleanup(func() {
		_ = syscall.Kill(-shell.Process.Pid, syscall.SIGTERM)
		select {
		case <-s.ended:
		case <-time.After(20 * time.Second):
			_ = syscall.Kill(-shell.Process.Pid, syscall.SIGKILL)
			<-s.ended
		}
	})
	return s
}

// patience is for a build on a loaded machine: with one processor beside four busy loops it takes more than five minutes.
const patience = 20 * time.Minute

// run types a command, waits for its end, and returns its exit status and what appeared meanwhile.
func (s *session) run(text string) (status, output string) {
	s.t.Helper()
	s.n++
	from, mark := s.said.len(), fmt.Sprintf("-- end of command %d: ", s.n)
	if _, err := fmt.Fprintf(s.typed, "%s\necho '%s'$?\n", text, mark); err != nil {
		s.t.Fatalf("%s: %v", text, err)
	}
	if !s.said.wait(patience, func(all string) bool {
		var found bool
		output, status, found = strings.Cut(all[from:], mark)
		return found && strings.Contains(status, "\n")
	}, s.ended) {
		s.t.Fatalf("%s: no end; it said: %s", text, s.said.String()[from:])
	}
	status, _, _ = strings.Cut(status, "\n")
	return status, output
}

// later is what has appeared since a command that goes on in the background, once it is what was waited for, or never is.
func (s *session) later(from int, done func(output string) bool) string {
	s.said.wait(patience, func(all string) bool { return done(all[from:]) }, s.ended)
	return s.said.String()[from:]
}

// screen is what a shell has said so far.
type screen struct {
	mu      sync.Mutex
	b       bytes.Buffer
	changed chan struct{} // closed with the next word
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

// wait reports whether what was said comes to satisfy done.
func (s *screen) wait(d time.Duration, done func(string) bool, ended <-chan struct{}) bool {
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
		case <-ended:
			return done(s.String())
		case <-deadline:
			return false
		}
	}
}
