package worker

import (
	"sync"
	"time"

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

	learnt      int // batch size that WeChat took after it had refused a larger one; 0 = none
	learntUntil time.Time
}

func newLane(app App, mu *sync.Mutex) *lane {
	return &lane{app: app, open: make(map[string]*batch), freed: sync.NewCond(mu)}
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

// Acquire waits for a request that is free. Those who come back go before new batches, see take.
func (s slot) Acquire() {
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	s.l.resting++
	for s.l.running >= s.l.app.MaxInFlight && !s.b.closed {
		s.l.freed.Wait()
	}
	s.l.resting--
	s.l.running++
}

func (l *lane) batchLimit(now time.Time) int {
	if l.learnt > 0 && now.Before(l.learntUntil) {
		return min(l.learnt, l.app.BatchMax)
	}
	return l.app.BatchMax
}

// send makes the request for entries and answers them. A request refused as malformed or too large is halved until
// the bad item stands alone. It returns the size of the largest request that passed, or 0 if one item was refused even
// alone: then the size was not at fault.
func (b *batcher) send(l *lane, openID string, entries []entry) (passed int) {
	req := wechat.Request{AppID: l.app.AppID, OpenID: openID, Items: make([]wechat.Item, len(entries)), Slot: slot{b, l}}
	for i, e := range entries {
		req.Items[i] = e.item
	}
	outcomes := b.wechat.GetOpenData(b.runCtx, l.app.Tokens, req)
	if refused(outcomes) && len(entries) > 1 {
		half := len(entries) / 2
		first, second := b.send(l, openID, entries[:half]), b.send(l, openID, entries[half:])
		if first == 0 || second == 0 {
			return 0
		}
		return max(first, second)
	}
	for i, e := range entries {
		e.waiter.answers <- answer{index: e.index, outcome: outcomes[i]}
	}
	if refused(outcomes) {
		return 0
	}
	return len(entries)
}

// learn remembers the batch size that passed after a larger one was refused.
func (b *batcher) learn(l *lane, size int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	l.learnt, l.learntUntil = size, time.Now().Add(learntFor)
}

// refused reports whether WeChat turned down the request as a whole for its form.
func refused(outcomes []wechat.Outcome) bool {
	return outcomes[0].Err != nil && outcomes[0].Err.Class == wechat.ClassBatch
}

// fifo is a queue of batches that keeps its memory.
type fifo struct {
	items []*batch
	head  int
}

func (q *fifo) push(b *batch) { q.items = append(q.items, b) }

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
