package worker

import (
	"sync"
	"time"

	"github.com/sony/gobreaker/v2"

	"cloudidq/internal/wechat"
)

// learntFor is how long a batch size that WeChat refused is remembered. WeChat documents no maximum, so one that was
// learnt is a guess, tried again from time to time.
const learntFor = 10 * time.Minute

// lane is what the batcher knows of one app: its open batches and those in line for one of its MaxInFlight requests.
// Lanes do not share requests, so a slow app does not take those of another. Guarded by batcher.mu.
type lane struct {
	app     App
	open    map[string]*batch // by openid: what more entries may join
	ready   fifo              // in line
	running int               // requests under way, at most app.MaxInFlight
	resting int               // goroutines that want their request back after a wait between two tries
	freed   *sync.Cond        // on batcher.mu: running has become less

	halt     *halt // nothing is sent, see pause.go; nil = not paused
	probing  bool  // the pause has ended and this process may find out, by one request, whether the trouble is over
	probeOut bool  // that request is under way

	turn    chan struct{} // held by the one goroutine that asks for a request of the minute
	breaker *gobreaker.CircuitBreaker[[]wechat.Outcome]

	learnt      int // batch size that WeChat took after it had refused a larger one; 0 = none
	learntUntil time.Time
}

func newLane(app App, mu *sync.Mutex) *lane {
	return &lane{
		app: app, open: make(map[string]*batch), freed: sync.NewCond(mu),
		turn: make(chan struct{}, 1), breaker: newBreaker(),
	}
}

// slot is one request of a lane, in the hands of a goroutine of the batcher.
type slot struct {
	b *batcher
	l *lane
}

// Release lets another batch be sent while this one waits between two tries: max_in_flight counts requests, and a storm
// of "system busy" must not keep the rest waiting.
func (s slot) Release() {
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	s.l.running--
	s.b.startRun(s.l)
	s.l.freed.Signal()
}

// Acquire waits for a request that is free. Those who come back go before new batches, see take. What belongs to an app
// that has been paused meanwhile is not sent again.
func (s slot) Acquire() *wechat.Error {
	s.b.reacquire(s.l)
	s.b.pace(s.l, func() bool { return s.b.haltOf(s.l) == nil })
	return s.b.haltOf(s.l)
}

func (b *batcher) reacquire(l *lane) {
	b.mu.Lock()
	defer b.mu.Unlock()
	l.resting++
	for l.running >= l.app.MaxInFlight && !b.closed {
		l.freed.Wait()
	}
	l.resting--
	l.running++
}

func (l *lane) batchLimit(now time.Time) int {
	if l.learnt > 0 && now.Before(l.learntUntil) {
		return min(l.learnt, l.app.BatchMax)
	}
	return l.app.BatchMax
}

// learn remembers the batch size that passed after a larger one was refused.
func (b *batcher) learn(l *lane, size int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	l.learnt, l.learntUntil = size, time.Now().Add(learntFor)
}

// fifo is a queue of batches that keeps its memory.
type fifo struct {
	items []*batch
	head  int // what stands before it has been taken
}

func (q *fifo) push(b *batch) {
	if q.head > len(q.items)/2 && len(q.items) == cap(q.items) {
		q.items, q.head = append(q.items[:0], q.items[q.head:]...), 0 // rather than to grow by what has been taken
	}
	q.items = append(q.items, b)
}

func (q *fifo) empty() bool { return q.head == len(q.items) }

// pop takes the first one; the queue must not be empty.
func (q *fifo) pop() *batch {
	b := q.items[q.head]
	q.items[q.head] = nil
	q.head++
	if q.head == len(q.items) {
		q.items, q.head = q.items[:0], 0
	}
	return b
}
