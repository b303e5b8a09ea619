package worker

import (
	"context"
	"testing"
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
