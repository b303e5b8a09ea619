package httpapi

import (
	"context"
	"sync"
	"time"
)

// uploads limits the bodies that may arrive at once, because each body takes a few megabytes of
// memory. A slow body keeps its slot while no other upload needs it. If all slots are taken, a
// new upload gets the slot of the body that the server has waited for longest, once that wait
// reaches [timing.slowBody].
type uploads struct {
	timing *timing

	mu     sync.Mutex
	active map[*uploadSlot]struct{}
	freed  chan struct{} // closed and replaced when a slot becomes free
}

// uploadSlot is the slot of a body that is arriving.
type uploadSlot struct {
	mu sync.Mutex // guards the fields below
	// waitedFor is how long the server has waited for the client since the last piece.
	waitedFor    time.Duration
	waitingSince time.Time // when the server began to wait for the client; zero = not waiting
	received     int       // bytes since waitedFor was last reset
	interrupt    func()    // interrupts the read; nil = no read yet
	evicted      bool      // its slot was given to another upload
}

const (
	// maxUploads is how many bodies may arrive at once, per process.
	maxUploads = 32
	// uploadPiece is how many bytes a body must send to reset its waiting time.
	uploadPiece = 16 << 10
)

func newUploads(p *timing) *uploads {
	return &uploads{timing: p, active: make(map[*uploadSlot]struct{}), freed: make(chan struct{})}
}

// acquire returns a slot, which the caller frees with release. If all slots are taken, it evicts
// the slowest body once the server has waited for it for timing.slowBody. It reports false if
// no slot becomes free within timing.slotWait, or if ctx is done.
func (u *uploads) acquire(ctx context.Context) (*uploadSlot, bool) {
	deadline := time.Now().Add(u.timing.slotWait)
	for hasEvicted := false; ; {
		now := time.Now()
		slot, slowest, freed := u.tryAcquire(now)
		if slot != nil {
			return slot, true
		}
		wait := deadline.Sub(now)
		if !hasEvicted { // each new upload evicts at most one body
			switch ready := u.timing.slowBody - slowest.waitTime(now); {
			case ready <= 0:
				hasEvicted = true
				slowest.evict()
			// The slowest body cannot become slow enough in time.
			case ready > wait:
				return nil, false
			default:
				wait = ready
			}
		}
		if wait <= 0 || !await(ctx, freed, wait) {
			return nil, false
		}
	}
}

// tryAcquire returns a slot if one is free. Otherwise it returns the slowest body.
func (u *uploads) tryAcquire(now time.Time) (slot, slowest *uploadSlot, freed <-chan struct{}) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.active) < maxUploads {
		slot = &uploadSlot{}
		u.active[slot] = struct{}{}
		return slot, nil, nil
	}
	for s := range u.active {
		if slowest == nil || s.waitTime(now) > slowest.waitTime(now) {
			slowest = s
		}
	}
	return nil, slowest, u.freed
}

// release frees a slot and wakes the uploads that wait for one.
func (u *uploads) release(s *uploadSlot) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.active, s)
	close(u.freed)
	u.freed = make(chan struct{})
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

// waitTime returns how long the server has waited for the body since its last piece. It returns -1
// for a body that was already evicted, so that no upload evicts it a second time.
func (s *uploadSlot) waitTime(now time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.evicted:
		return -1
	case s.waitingSince.IsZero():
		return s.waitedFor
	default:
		return s.waitedFor + now.Sub(s.waitingSince)
	}
}

// startRead records that the server starts to wait for the client. interrupt stops the wait.
// startRead reports false if the body was evicted.
func (s *uploadSlot) startRead(now time.Time, interrupt func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waitingSince, s.interrupt = now, interrupt
	return !s.evicted
}

// finishRead records that n bytes have arrived.
func (s *uploadSlot) finishRead(n int, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waitedFor += now.Sub(s.waitingSince)
	s.waitingSince = time.Time{}
	if s.received += n; s.received >= uploadPiece {
		s.waitedFor, s.received = 0, 0
	}
}

// evict takes the slot away from the body. It interrupts the current read, or fails the next one.
func (s *uploadSlot) evict() {
	s.mu.Lock()
	s.evicted = true
	interrupt := s.interrupt
	s.mu.Unlock()
	if interrupt != nil {
		interrupt()
	}
}

// wasEvicted reports whether the body was evicted.
func (s *uploadSlot) wasEvicted() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.evicted
}
