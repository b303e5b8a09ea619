package tasks

import (
	"context"
	"sync"
	"time"
)

// acceptance says when something is accepted: by Redis's clock, not by this machine's. It asks Redis when a call needs
// to know and the last answer is 30 s old. The calls that come meanwhile wait for that answer, each as long as its context
// allows; all others cost Redis nothing.
type acceptance struct {
	clock *Clock // nil = this machine's is right

	mu     sync.Mutex
	next   time.Time     // when to ask again; guarded by mu
	asking chan struct{} // closed once Redis has answered; nil = nobody asks. Guarded by mu
}

// now is the moment of acceptance, in whole milliseconds. Its error is ctx's.
func (a *acceptance) now(ctx context.Context, cs *commits) (time.Time, error) {
	if answered := a.ask(cs); answered != nil {
		select {
		case <-answered:
		case <-ctx.Done():
			return time.Time{}, ctx.Err()
		}
	}
	return a.clock.Now().UTC().Truncate(time.Millisecond), nil
}

// ask has Redis asked if that is due. It returns what to wait for; nil = nothing.
func (a *acceptance) ask(cs *commits) <-chan struct{} {
	if a.clock == nil {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.asking != nil {
		return a.asking
	}
	if time.Now().Before(a.next) || !cs.run(a.measure) {
		return nil
	}
	a.asking = make(chan struct{})
	return a.asking
}

// measure asks Redis, and lets go on who waits for it.
func (a *acceptance) measure() {
	wait := clockEvery
	if err := a.clock.Measure(context.Background()); err != nil {
		wait = clockAgain
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.next = time.Now().Add(wait)
	close(a.asking)
	a.asking = nil
}
