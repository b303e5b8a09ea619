package httpapi

import (
	"context"
	"sync"
	"time"
)

// uploads are the places for bodies that come in at once; each body takes a few megabytes of memory. A slow body keeps its
// place while nobody else wants it. When all places are taken, a newcomer gets that of the body that has kept the server
// waiting longest.
type uploads struct {
	pace *pace

	mu    sync.Mutex
	under map[*upstream]struct{}
	left  chan struct{} // closed, and made anew, when a place is free
}

// upstream is a body that comes in.
type upstream struct {
	mu      sync.Mutex // guards all below
	waited  time.Duration
	reading time.Time // since when the server waits for the client; zero = it does not
	brought int       // bytes since waited began anew
	leave   func()    // ends the read; nil = it has not begun
	out     bool      // its place is another's
}

const (
	// maxUploads is how many bodies may come in at once, per process.
	maxUploads = 32
	// uploadPiece is what a body must bring for its waits to be forgotten.
	uploadPiece = 16 << 10
)

func newUploads(p *pace) *uploads {
	return &uploads{pace: p, under: make(map[*upstream]struct{}), left: make(chan struct{})}
}

// enter takes a place, and reports false if there is none and none of those inside is slow. The caller leaves it.
func (u *uploads) enter(ctx context.Context) (*upstream, bool) {
	limit := time.Now().Add(u.pace.place)
	for asked := false; ; {
		now := time.Now()
		mine, slowest, left := u.look(now)
		if mine != nil {
			return mine, true
		}
		wait := limit.Sub(now)
		if !asked { // one newcomer turns out one
			switch ready := u.pace.slow - slowest.waits(now); {
			case ready <= 0:
				asked = true
				slowest.turnOut()
			case ready > wait:
				return nil, false
			default:
				wait = ready
			}
		}
		if wait <= 0 || !await(ctx, left, wait) {
			return nil, false
		}
	}
}

// look takes a place if one is free, else it finds the slowest body.
func (u *uploads) look(now time.Time) (mine, slowest *upstream, left <-chan struct{}) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.under) < maxUploads {
		mine = &upstream{}
		u.under[mine] = struct{}{}
		return mine, nil, nil
	}
	for one := range u.under {
		if slowest == nil || one.waits(now) > slowest.waits(now) {
			slowest = one
		}
	}
	return nil, slowest, u.left
}

func (u *uploads) exit(one *upstream) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.under, one)
	close(u.left)
	u.left = make(chan struct{})
}

// await returns when something is closed or the time is over; false = ctx has ended.
func await(ctx context.Context, closed <-chan struct{}, most time.Duration) bool {
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case <-closed:
		return true
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// waits is how long the server has waited for the body since that last brought a piece. One that is on its way out is no
// one's to turn out again.
func (o *upstream) waits(now time.Time) time.Duration {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.out:
		return -1
	case o.reading.IsZero():
		return o.waited
	default:
		return o.waited + now.Sub(o.reading)
	}
}

// begin says that the server waits for the client from now on, and how to end that. It reports false if the place of the
// body is another's.
func (o *upstream) begin(now time.Time, leave func()) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.reading, o.leave = now, leave
	return !o.out
}

// got says that n bytes have come.
func (o *upstream) got(n int, now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.waited += now.Sub(o.reading)
	o.reading = time.Time{}
	if o.brought += n; o.brought >= uploadPiece {
		o.waited, o.brought = 0, 0
	}
}

// turnOut ends the read of the body, or its next one.
func (o *upstream) turnOut() {
	o.mu.Lock()
	o.out = true
	leave := o.leave
	o.mu.Unlock()
	if leave != nil {
		leave()
	}
}

// turnedOut reports whether the place of the body is another's.
func (o *upstream) turnedOut() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.out
}
