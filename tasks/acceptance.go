package tasks

import (
	"context"
	"sync"
	"time"
)

// acceptance returns acceptance times by Redis's clock instead of this machine's clock. It reads
// Redis's clock when a call needs it and the last answer is at least 30 s old. Calls that
// arrive during the request wait for its answer, each until its context ends. All other calls
// cost Redis nothing.
type acceptance struct {
	clock *Clock // nil means that this machine's clock is used

	mu   sync.Mutex
	next time.Time // when the next request to Redis is due; guarded by mu
	// measured is closed when the request to Redis is done; nil if none is in flight. Guarded by mu.
	measured chan struct{}
}

// now returns the current time by Redis's clock, in whole milliseconds. Its error is ctx's.
func (a *acceptance) now(ctx context.Context, cs *commits) (time.Time, error) {
	if answered := a.startMeasure(cs); answered != nil {
		select {
		case <-answered:
		case <-ctx.Done():
			return time.Time{}, ctx.Err()
		}
	}
	return a.clock.Now().UTC().Truncate(time.Millisecond), nil
}

// startMeasure starts a request to Redis if one is due. It returns a channel to wait on, or nil
// if the caller need not wait.
func (a *acceptance) startMeasure(cs *commits) <-chan struct{} {
	if a.clock == nil {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.measured != nil {
		return a.measured
	}
	if time.Now().Before(a.next) || !cs.run(a.measure) {
		return nil
	}
	a.measured = make(chan struct{})
	return a.measured
}

// measure reads Redis's clock once and releases the calls that wait for it.
func (a *acceptance) measure() {
	wait := clockEvery
	if err := a.clock.Measure(context.Background()); err != nil {
		wait = clockAgain
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.next = time.Now().Add(wait)
	close(a.measured)
	a.measured = nil
}
