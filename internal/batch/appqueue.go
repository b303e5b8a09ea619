package batch

import (
	"sync"
	"time"

	"github.com/sony/gobreaker/v2"

	"cloudidq/internal/wechat"
)

// learntFor is how long the batcher remembers that WeChat refused a batch size. WeChat
// documents no maximum, so the size that passed is a guess. A larger size is attempted again
// after this time.
const learntFor = 10 * time.Minute

// appQueue is the batcher's queue of one app: its open batches, and the batches ready for one of
// its MaxInFlight requests. Each app has its own requests, so a slow app does not take the
// requests of another. Guarded by Batcher.mu.
type appQueue struct {
	app     App
	open    map[string]*batch // by openid: the batches that more entries may join
	ready   fifo              // batches waiting for a request
	running int               // goroutines with a request, at most app.MaxInFlight
	resting int               // goroutines that wait to get their request back after a retry delay
	freed   *sync.Cond        // on Batcher.mu; signals that running has decreased

	// Block blocks the app's requests (pause.go); nil = the app is not paused.
	block *Block
	// probing means that the pause has ended and this process may send one request, to find out
	// whether the trouble is over.
	probing  bool
	probeOut bool // the probe is in flight

	turn    chan struct{} // held by the one goroutine that waits in pace
	breaker *gobreaker.CircuitBreaker[[]wechat.Outcome]

	learnt      int // batch size that passed after a larger one was refused; 0 = none
	learntUntil time.Time
}

// newAppQueue returns the queue of an app in a batcher whose mutex is mu.
func newAppQueue(app App, mu *sync.Mutex) *appQueue {
	return &appQueue{
		app: app, open: make(map[string]*batch), freed: sync.NewCond(mu),
		turn: make(chan struct{}, 1), breaker: newBreaker(),
	}
}

// slot is one of an app's MaxInFlight requests, held by a goroutine of the batcher. It
// implements [wechat.Slot].
type slot struct {
	b *Batcher
	l *appQueue
}

// Release lets another batch be sent while this one waits between two attempts. max_in_flight
// counts requests, and a series of "system busy" answers must not block the other batches.
func (s slot) Release() {
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	s.l.running--
	s.b.startRun(s.l)
	s.l.freed.Signal()
}

// Acquire waits until a request is free and takes it. Goroutines that return here go before new
// batches, see take. If the app was paused in the meantime, Acquire returns the pause's error:
// the request is taken all the same, but nothing is sent again.
func (s slot) Acquire() *wechat.Error {
	s.b.reacquire(s.l)
	s.b.pace(s.l, func() bool { return s.b.blockOf(s.l) == nil })
	return s.b.blockOf(s.l)
}

func (b *Batcher) reacquire(l *appQueue) {
	// resting makes take and startRun leave a request to this goroutine.
	b.mu.Lock()
	defer b.mu.Unlock()
	l.resting++
	for l.running >= l.app.MaxInFlight && !b.closed {
		l.freed.Wait()
	}
	l.resting--
	l.running++
}

// batchLimit returns the maximum number of cloudIDs in one request at present.
func (l *appQueue) batchLimit(now time.Time) int {
	if l.learnt > 0 && now.Before(l.learntUntil) {
		return min(l.learnt, l.app.BatchMax)
	}
	return l.app.BatchMax
}

// learn remembers the batch size that passed after a larger one was refused.
func (b *Batcher) learn(l *appQueue, size int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	l.learnt, l.learntUntil = size, time.Now().Add(learntFor)
}

// fifo is a first-in, first-out list of batches that reuses its memory.
type fifo struct {
	items []*batch
	head  int // items before head have been taken
}

func (q *fifo) push(b *batch) {
	if q.head > len(q.items)/2 && len(q.items) == cap(q.items) {
		// More than half of the items are taken: move the rest to the front instead of growing.
		q.items, q.head = append(q.items[:0], q.items[q.head:]...), 0
	}
	q.items = append(q.items, b)
}

func (q *fifo) empty() bool { return q.head == len(q.items) }

// pop removes and returns the first batch. The list must not be empty.
func (q *fifo) pop() *batch {
	b := q.items[q.head]
	q.items[q.head] = nil
	q.head++
	if q.head == len(q.items) {
		q.items, q.head = q.items[:0], 0
	}
	return b
}
