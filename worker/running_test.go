package worker

import (
	"context"
	"testing"
)

// runUntilTheEnd runs a worker until the test ends. What the worker uses is cleaned up after it, if the test has asked for
// that before.
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
