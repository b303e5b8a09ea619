package httpapi

import (
	"context"
	"sync"
	"time"
)

// uploads limits the bodies that may arrive at once, because each body takes a few megabytes of
// memory. A slow body keeps its place while no other upload needs it. If all places are taken, a
// new upload gets the place of the body that the server has waited for longest, once that wait
// reaches [pace.slow].
type uploads struct {
	pace *pace

	mu    sync.Mutex
	under map[*upstream]struct{}
	left  chan struct{} // closed and replaced when a place becomes free
}

// upstream is a body in progress.
type upstream struct {
	mu sync.Mutex // guards the fields below
	// waited is how long the server has waited for the client since the last piece.
	waited  time.Duration
	reading time.Time // when the server began to wait for the client; zero = not waiting
	brought int       // bytes since waited was last reset
	leave   func()    // interrupts the read; nil = no read yet
	out     bool      // its place was given to another upload
}

const (
	// maxUploads is how many bodies may arrive at once, per process.
	maxUploads = 32
	// uploadPiece is how many bytes a body must send to reset its waiting time.
	uploadPiece = 16 << 10
)

func newUploads(p *pace) *uploads {
	return &uploads{pace: p, under: make(map[*upstream]struct{}), left: make(chan struct{})}
}

// enter takes a place, which the caller frees with exit. If all places are taken, enter evicts
// the slowest body once the server has waited for it for pace.slow. enter reports false if no
// place becomes free within pace.place, or if ctx is done.
func (u *uploads) enter(ctx context.Context) (*upstream, bool) {
	limit := time.Now().Add(u.pace.place)
	for asked := false; ; {
		now := time.Now()
		mine, slowest, left := u.look(now)
		if mine != nil {
			return mine, true
		}
		wait := limit.Sub(now)
		if !asked { // each new upload evicts at most one body
			switch ready := u.pace.slow - slowest.waits(now); {
			case ready <= 0:
				asked = true
				slowest.turnOut()
			// The slowest body cannot become slow enough in time.
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

// look takes a place if one is free. Otherwise it returns the slowest body.
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

// exit frees a place and wakes the uploads that wait for one.
func (u *uploads) exit(one *upstream) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.under, one)
	close(u.left)
	u.left = make(chan struct{})
}

// await waits until closed is closed or the time is over. It reports false if ctx is done.
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

// waits returns how long the server has waited for the body since its last piece. It returns -1
// for a body that has already lost its place, so that no upload evicts it a second time.
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

// begin records that the server starts to wait for the client. leave interrupts the wait. begin
// reports false if the body has lost its place.
func (o *upstream) begin(now time.Time, leave func()) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.reading, o.leave = now, leave
	return !o.out
}

// got records that n bytes have arrived.
func (o *upstream) got(n int, now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.waited += now.Sub(o.reading)
	o.reading = time.Time{}
	if o.brought += n; o.brought >= uploadPiece {
		o.waited, o.brought = 0, 0
	}
}

// turnOut takes the body's place away. It interrupts the current read, or fails the next one.
func (o *upstream) turnOut() {
	o.mu.Lock()
	o.out = true
	leave := o.leave
	o.mu.Unlock()
	if leave != nil {
		leave()
	}
}

// turnedOut reports whether the body has lost its place.
func (o *upstream) turnedOut() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.out
}
