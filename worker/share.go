package worker

import (
	"context"
	"slices"
	"sync"
	"time"
)

// shares bounds how many tasks of one app a queue's slots may work on while another app wants some, so that an app whose
// requests hang, or whose backlog is long, leaves slots to the others. The zero value bounds nothing.
//
// A task past its app's share keeps its slot and waits in the handler (place.wait) until one of its app has ended. If it
// went back to the queue, the next one of the backlog would come in its place, and the one after it: thousands of
// scripts a second for nothing, and the order of the queue lost. Since such tasks may hold the last slots, ahead.go looks
// past them for other apps' tasks, and says how many places those need.
type shares struct {
	mu    sync.Mutex
	rooms map[string]*room // by queue; guarded by mu, as is all within
}

// room is the slots of one queue. Guarded by shares.mu.
type room struct {
	slots   int
	most    int            // tasks of one app at work while another wants slots: three quarters
	alone   int            // while none does; what is left is for the first task of another
	working map[string]int // by app
	waiting []*place       // in the order in which they came
	back    []wentBack     // tasks that have made way, until they are back at the head of the queue
	seen    [2]sightedApp  // the two apps that were seen last
	nobody  bool           // the last look went through to the end of the queue and found nothing of another app
	stopped bool           // nobody waits any more
	came    int            // places ever taken
}

type sightedApp struct {
	appID string
	at    time.Time
}

// wentBack is a task that has made way.
type wentBack struct {
	taskID, appID string
	number        int // of its place: the order in which tasks were fetched
	until         time.Time
}

const (
	// wantsFor is how long after its last task an app is taken to want slots.
	wantsFor = 5 * time.Second
	// waitsFor is how long a task waits in the handler for its app's share. It is part of the try.
	waitsFor = 10 * time.Second
	// backFor is how long after a task has made way it is looked for among those that come back: until then it has not
	// been due there.
	backFor = delayShare
)

// newShares gives one app three quarters of a queue's slots at most, if there are several, and almost all while no other
// app has tasks. One that is alone has all.
func newShares(several bool, slots map[string]int) *shares {
	s := &shares{rooms: make(map[string]*room)}
	if !several {
		return s
	}
	for queue, n := range slots {
		most := max(1, n*3/4)
		s.rooms[queue] = &room{slots: n, most: most, alone: n - (n-most+1)/2, working: make(map[string]int)}
	}
	return s
}

// place is what a task has of its queue's slots: it works, or waits to.
type place struct {
	shares *shares
	room   *room // nil = nothing is bounded
	appID  string
	number int
	works  bool      // guarded by shares.mu
	told   chan bool // has room for the one answer to the one that waits: true = work, false = make way
}

// enter takes a place for a task of an app. The caller leaves it, in any case.
func (s *shares) enter(queue, appID string) *place {
	r := s.rooms[queue]
	p := &place{shares: s, room: r, appID: appID, told: make(chan bool, 1)}
	if r == nil {
		p.works = true
		return p
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r.see(appID, time.Now())
	r.came++
	p.number = r.came
	r.waiting = append(r.waiting, p)
	r.admit(time.Now())
	if r.stopped && !p.works {
		r.tellToGo(1)
	}
	return p
}

// works reports whether a place needs no waiting.
func (p *place) mayWork() bool {
	if p.room == nil {
		return true
	}
	p.shares.mu.Lock()
	defer p.shares.mu.Unlock()
	return p.works
}

// wait waits until the task may work, and reports false if it is to make way, or d is over.
func (p *place) wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case works := <-p.told:
		return works
	case <-timer.C:
	case <-ctx.Done():
	}
	p.shares.mu.Lock()
	defer p.shares.mu.Unlock()
	p.room.dropWaiting(p)
	return p.works
}

// workAnyway lets a task past the share work.
func (p *place) workAnyway() {
	if p.room == nil {
		return
	}
	p.shares.mu.Lock()
	defer p.shares.mu.Unlock()
	if !p.works {
		p.room.dropWaiting(p)
		p.works = true
		p.room.working[p.appID]++
	}
}

// makesWay notes that the task goes back to the queue as it came, and belongs to its head.
func (p *place) makesWay(taskID string) {
	if p.room == nil {
		return
	}
	p.shares.mu.Lock()
	defer p.shares.mu.Unlock()
	p.room.back = append(p.room.back, wentBack{taskID, p.appID, p.number, time.Now().Add(backFor)})
}

// leave gives the place up. The next that waits for it works.
func (p *place) leave() {
	if p.room == nil {
		return
	}
	p.shares.mu.Lock()
	defer p.shares.mu.Unlock()
	r := p.room
	r.dropWaiting(p)
	if p.works {
		if r.working[p.appID]--; r.working[p.appID] == 0 {
			delete(r.working, p.appID)
		}
	}
	r.admit(time.Now())
}

// stop lets nobody wait any more: those that do go back to the queue.
func (s *shares) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.rooms {
		r.stopped = true
		r.tellToGo(len(r.waiting))
	}
}

// admit lets those that wait work, in their order, as far as their apps' bounds go.
func (r *room) admit(now time.Time) {
	still := r.waiting[:0]
	for _, p := range r.waiting {
		if r.working[p.appID] >= r.bound(p.appID, now) {
			still = append(still, p)
			continue
		}
		r.working[p.appID]++
		p.works = true
		p.told <- true
	}
	clear(r.waiting[len(still):])
	r.waiting = still
}

// bound is how many tasks of an app may be at work.
func (r *room) bound(appID string, now time.Time) int {
	if !r.nobody {
		return r.most
	}
	for _, other := range r.seen {
		if other.appID != appID && now.Sub(other.at) < wantsFor {
			return r.most
		}
	}
	return r.alone
}

// see notes that an app has tasks.
func (r *room) see(appID string, now time.Time) {
	if r.seen[0].appID != appID {
		r.seen[1] = r.seen[0]
	}
	r.seen[0] = sightedApp{appID, now}
}

// tellToGo makes the youngest n of those that wait make way: the oldest are the next to work.
func (r *room) tellToGo(n int) {
	stay := max(0, len(r.waiting)-n)
	for i := stay; i < len(r.waiting); i++ {
		r.waiting[i].told <- false
		r.waiting[i] = nil
	}
	r.waiting = r.waiting[:stay]
}

func (r *room) dropWaiting(p *place) {
	if at := slices.Index(r.waiting, p); at >= 0 {
		r.waiting = slices.Delete(r.waiting, at, at+1)
	}
}
