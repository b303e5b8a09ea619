package worker

import (
	"context"
	"testing"
	"time"
)

// runUntilTheEnd runs a worker until the test ends. Cleanups that the test has registered
// before run after the worker has stopped.
func runUntilTheEnd(tb testing.TB, w *Worker) {
	tb.Helper()
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	tb.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			tb.Errorf("Run = %v", err)
		}
	})
}

// await polls until is returns true. It fails the test if that takes minutes.
func await(t *testing.T, what string, is func() bool) {
	t.Helper()
	limit := time.After(5 * time.Minute) // on a very busy machine
	for !is() {
		select {
		case <-limit:
			t.Fatalf("waited in vain for %s", what)
		case <-time.After(10 * time.Millisecond):
		}
	}
}
