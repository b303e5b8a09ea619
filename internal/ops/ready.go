package ops

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Check tests whether a dependency of the process works. /readyz shows its error only if it is a
// [Fault], because other errors may contain an address.
type Check struct {
	Name string
	Ask  func(ctx context.Context) error
}

// Fault is an error that /readyz shows. It contains neither an address nor user data.
type Fault string

// Error implements error.
func (f Fault) Error() string { return string(f) }

// checkTimeout bounds the checks, so that the response comes before the usual timeout of a probe.
const checkTimeout = 800 * time.Millisecond

// readiness holds whether the process can work.
type readiness struct {
	stopping atomic.Bool

	mu      sync.Mutex
	waiting []string // parts that are not up; guarded by mu
	checks  []Check  // each name once; guarded by mu
}

func newReadiness(parts []string) *readiness {
	return &readiness{waiting: append([]string(nil), parts...)}
}

// up marks a part as up and adds its checks.
func (r *readiness) up(part string, checks []Check) {
	r.mu.Lock()
	defer r.mu.Unlock()
	still := r.waiting[:0]
	for _, name := range r.waiting {
		if name != part {
			still = append(still, name)
		}
	}
	r.waiting = still
	for _, check := range checks {
		if !r.hasLocked(check.Name) {
			r.checks = append(r.checks, check)
		}
	}
}

// hasLocked reports whether a check with this name exists. The caller holds mu.
func (r *readiness) hasLocked(name string) bool {
	for _, check := range r.checks {
		if check.Name == name {
			return true
		}
	}
	return false
}

// serve responds to /readyz with 200 or 503, and a line for each part that is starting and each
// check.
func (r *readiness) serve(w http.ResponseWriter, request *http.Request) {
	if r.stopping.Load() {
		answer(w, http.StatusServiceUnavailable, "stopping\n")
		return
	}
	// Copy the state, because the checks run without the lock.
	r.mu.Lock()
	waiting := append([]string(nil), r.waiting...)
	checks := append([]Check(nil), r.checks...)
	r.mu.Unlock()

	var text strings.Builder
	status := http.StatusOK
	for _, part := range waiting {
		status = http.StatusServiceUnavailable
		fmt.Fprintf(&text, "%s: starting\n", part)
	}
	for i, err := range runAll(request.Context(), checks) {
		if err == nil {
			fmt.Fprintf(&text, "%s: ok\n", checks[i].Name)
			continue
		}
		status = http.StatusServiceUnavailable
		fmt.Fprintf(&text, "%s: %s\n", checks[i].Name, messageOf(err))
	}
	if r.stopping.Load() { // Stopping was called during the checks
		answer(w, http.StatusServiceUnavailable, "stopping\n")
		return
	}
	answer(w, status, text.String())
}

// messageOf returns the text that /readyz shows for the error of a check.
func messageOf(err error) string {
	if fault, ok := errors.AsType[Fault](err); ok {
		return fault.Error()
	}
	return "does not answer"
}

// runAll runs all checks concurrently.
func runAll(ctx context.Context, checks []Check) []error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	errs := make([]error, len(checks))
	var running sync.WaitGroup
	for i, check := range checks {
		running.Go(func() { errs[i] = check.Ask(ctx) })
	}
	running.Wait()
	return errs
}
