package worker

import "sync"

// shares bounds how many tasks of one app a queue's slots may hold, so that an app whose requests hang, or whose
// backlog is long, leaves slots to the others. The zero value bounds nothing.
type shares struct {
	most map[string]int // by queue

	mu   sync.Mutex
	held map[share]int // guarded by mu
}

type share struct{ queue, appID string }

// newShares gives one app three quarters of a queue's slots at most, if there are several. One that is alone has all.
func newShares(several bool, slots map[string]int) *shares {
	s := &shares{most: make(map[string]int), held: make(map[share]int)}
	if !several {
		return s
	}
	for queue, n := range slots {
		s.most[queue] = max(1, n*3/4)
	}
	return s
}

// take counts a task of an app in and reports whether the app is within its share; leave counts it out, in any case.
func (s *shares) take(queue, appID string) (leave func(), within bool) {
	most, bounded := s.most[queue]
	if !bounded {
		return func() {}, true
	}
	key := share{queue, appID}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held[key]++
	return func() { s.leave(key) }, s.held[key] <= most
}

func (s *shares) leave(key share) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held[key]--; s.held[key] == 0 {
		delete(s.held, key)
	}
}
