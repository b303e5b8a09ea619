package worker

import (
	"context"
	"slices"
	"sync"
	"time"
)

// shares bounds how many of a queue's slots one app may use while another app wants some. So an
// app whose requests hang, or whose backlog is long, leaves slots to the other apps. The zero
// value bounds nothing.
//
// A task beyond its app's share keeps its slot and waits in the handler (place.wait) until
// another task of its app has left. If it were requeued, the next task of the backlog would
// come in its place, and then the one after it. That would cost thousands of scripts a second
// for nothing, and the order of the queue would be lost. Waiting tasks may hold the last free
// slots. So ahead.go scans past them for tasks of other apps, and reports how many places those
// need.
type shares struct {
	mu    sync.Mutex
	rooms map[string]*room // by queue; the map and everything in it are guarded by mu
}

// room tracks the slots of one queue. Guarded by shares.mu.
type room struct {
	slots int
	// most bounds the working tasks of one app while another app wants slots: three quarters of
	// the slots.
	most int
	// alone bounds them while no other app wants slots. The remaining slots are for the first
	// tasks of another app.
	alone   int
	working map[string]int // working tasks by app
	waiting []*place       // in the order of arrival
	// yielded holds the tasks that have yielded, until they are back at the head of the queue.
	yielded []yieldedTask
	seen    [2]sightedApp // the two apps seen last
	nobody  bool          // the last scan of the whole queue found no task of another app
	stopped bool          // tasks do not wait any more
	came    int           // number of places ever taken
}

// sightedApp is an app and the time when a task of it last arrived.
type sightedApp struct {
	appID string
	at    time.Time
}

// yieldedTask is a task that has yielded its slot and waits for its retry.
type yieldedTask struct {
	taskID, appID string
	number        int // number of its place: the order in which tasks were fetched
	// until is when ahead.go stops looking for the task.
	until time.Time
}

const (
	// wantsFor is how long after its last task an app is assumed to want slots.
	wantsFor = 5 * time.Second
	// waitsFor is how long a task waits in the handler for a slot of its app. The wait counts
	// as part of the attempt.
	waitsFor = 10 * time.Second
	// returnFor is how long ahead.go tries to return a task that has yielded to the head. Within
	// this time the task has not come due by itself.
	returnFor = delayShare
)

// newShares returns the shares of a worker. If several is true, one app may use at most three
// quarters of a queue's slots, and almost all while no other app has tasks. If it is false, the
// one app may use all slots.
func newShares(several bool, slots map[string]int) *shares {
	s := &shares{rooms: make(map[string]*room)}
	if !several {
		return s
	}
	for queue, n := range slots {
		most := max(1, n*3/4)
		s.rooms[queue] = &room{
			slots: n, most: most, alone: n - (n-most+1)/2, working: make(map[string]int),
		}
	}
	return s
}

// place is a task's claim on a slot of its queue: the task works or waits.
type place struct {
	shares *shares
	room   *room // nil = no bounds
	appID  string
	number int
	works  bool // guarded by shares.mu
	// admitted has room for the one answer to a waiting task: true = work, false = yield.
	admitted chan bool
}

// enter takes a place for a task of an app. The caller must call leave in any case.
func (s *shares) enter(queue, appID string) *place {
	r := s.rooms[queue]
	p := &place{shares: s, room: r, appID: appID, admitted: make(chan bool, 1)}
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
		r.requeueLast(1)
	}
	return p
}

// mayWork reports whether the task may work without waiting.
func (p *place) mayWork() bool {
	if p.room == nil {
		return true
	}
	p.shares.mu.Lock()
	defer p.shares.mu.Unlock()
	return p.works
}

// wait waits until the task may work. It reports false if the task must yield, if d is over,
// or if ctx ends.
func (p *place) wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case works := <-p.admitted:
		return works
	case <-timer.C:
	case <-ctx.Done():
	}
	// The task may have been admitted just now.
	p.shares.mu.Lock()
	defer p.shares.mu.Unlock()
	p.room.dropWaiting(p)
	return p.works
}

// workAnyway lets a task work even beyond its app's share.
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

// yield records that the task was requeued unchanged and belongs at the head of its queue.
func (p *place) yield(taskID string) {
	if p.room == nil {
		return
	}
	p.shares.mu.Lock()
	defer p.shares.mu.Unlock()
	task := yieldedTask{taskID, p.appID, p.number, time.Now().Add(returnFor)}
	p.room.yielded = append(p.room.yielded, task)
}

// leave gives up the place. The next waiting task may then work.
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

// stop makes all waiting tasks, and all that come later, go back to the queue.
func (s *shares) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.rooms {
		r.stopped = true
		r.requeueLast(len(r.waiting))
	}
}

// admit lets waiting tasks work in their order, as far as the bounds of their apps allow.
func (r *room) admit(now time.Time) {
	still := r.waiting[:0]
	for _, p := range r.waiting {
		if r.working[p.appID] >= r.bound(p.appID, now) {
			still = append(still, p)
			continue
		}
		r.working[p.appID]++
		p.works = true
		p.admitted <- true
	}
	clear(r.waiting[len(still):])
	r.waiting = still
}

// bound returns how many tasks of an app may work at the same time.
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

// see records that an app has tasks.
func (r *room) see(appID string, now time.Time) {
	if r.seen[0].appID != appID {
		r.seen[1] = r.seen[0]
	}
	r.seen[0] = sightedApp{appID, now}
}

// requeueLast makes the n waiting tasks that came last yield their slots. The
// oldest stay, because they are the next to work.
func (r *room) requeueLast(n int) {
	stay := max(0, len(r.waiting)-n)
	for i := stay; i < len(r.waiting); i++ {
		r.waiting[i].admitted <- false
		r.waiting[i] = nil
	}
	r.waiting = r.waiting[:stay]
}

// dropWaiting removes p from the waiting tasks, if it is one.
func (r *room) dropWaiting(p *place) {
	if at := slices.Index(r.waiting, p); at >= 0 {
		r.waiting = slices.Delete(r.waiting, at, at+1)
	}
}
