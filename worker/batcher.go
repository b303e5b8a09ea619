package worker

import (
	"context"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"

	"cloudidq/internal/wechat"
)

// openData is the part of [wechat.Client] that the batcher uses: one outcome per item, in order.
type openData interface {
	GetOpenData(ctx context.Context, tokens wechat.TokenSource, req wechat.Request) []wechat.Outcome
}

// batcher merges the cloudIDs of all tasks in hand into requests. A request carries one openid, so a batch is one
// (appid, openid), or one app where [App.GroupByApp] says so. A batch leaves when it is full or its linger is over,
// and until a request of its app is free to take it, more may join.
//
// A handler adds its entries, reads their answers from the waiter's channel, and withdraws the waiter to leave early.
type batcher struct {
	wechat   openData
	rates    rates           // nil = no app has a rate
	activity activity        // called without mu
	tell     func(pauseNews) // called without mu; does not block
	count    *metrics        // nil = nothing is counted
	traced   bool            // requests are told whose they are
	begun    time.Time
	runCtx   context.Context // of every request; ends with close
	cancel   context.CancelFunc

	mu      sync.Mutex
	lanes   map[string]*lane   // by appid; guarded by mu, as is all within
	local   map[*lane]struct{} // those with a halt that Redis does not have yet; guarded by mu
	closed  bool               // guarded by mu
	running sync.WaitGroup     // the lanes' goroutines; Add only under mu and before closed
}

// waiter is one handler's end of the batcher.
type waiter struct {
	answers chan answer // has room for every entry, so that answering never blocks
	from    trace.SpanContext
	gone    bool // what is not yet sent is dropped; guarded by batcher.mu
	unsent  int  // guarded by batcher.mu
}

// entry is one cloudID of one waiter. The index is the waiter's own.
type entry struct {
	waiter *waiter
	index  int
	item   wechat.Item
}

type answer struct {
	index   int
	outcome wechat.Outcome
}

// batch is what will be one request: entries of one openid.
type batch struct {
	openID  string
	entries []entry
	opened  time.Duration // since the batcher's beginning
	ready   bool          // waits in lane.ready
}

func newBatcher(client openData, apps []App) *batcher {
	ctx, cancel := context.WithCancel(context.Background())
	b := &batcher{
		wechat: client, activity: untold{}, tell: func(pauseNews) {}, begun: time.Now(), runCtx: ctx, cancel: cancel,
		lanes: make(map[string]*lane, len(apps)), local: make(map[*lane]struct{}),
	}
	for _, app := range apps {
		b.open(app)
	}
	return b
}

// open makes the lane of an app, unless it has one.
func (b *batcher) open(app App) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.lanes[app.AppID] == nil {
		b.lanes[app.AppID] = newLane(app, &b.mu)
	}
}

// has reports whether an app has a lane.
func (b *batcher) has(appID string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.lanes[appID] != nil
}

// app returns the settings of an app that has a lane.
func (b *batcher) app(appID string) (App, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.lanes[appID]
	if l == nil {
		return App{}, false
	}
	return l.app, true
}

// ask is a cloudID on its way into the batcher.
type ask struct {
	openID string
	item   wechat.Item
}

// add puts asks of a span into batches and returns the waiter that gets one answer for each, by its index in asks. The
// app must have a lane.
func (b *batcher) add(from trace.SpanContext, appID string, asks []ask) *waiter {
	w := &waiter{answers: make(chan answer, len(asks)), from: from, unsent: len(asks)}
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.lanes[appID]
	now := time.Now()
	limit := l.batchLimit(now)
	var opened []*batch
	for i, a := range asks {
		openID := a.openID
		if l.app.GroupByApp {
			openID = ""
		}
		bt := l.open[openID]
		if bt == nil {
			bt = &batch{openID: openID, opened: now.Sub(b.begun)}
			l.open[openID] = bt
			opened = append(opened, bt)
		}
		bt.entries = append(bt.entries, entry{waiter: w, index: i, item: a.item})
		if len(bt.entries) >= limit {
			delete(l.open, openID)
			b.release(l, bt)
		}
	}
	b.releaseLater(l, opened)
	return w
}

// releaseLater gives the batches that one call of add has opened one timer together. Called with mu held.
func (b *batcher) releaseLater(l *lane, opened []*batch) {
	if len(opened) == 0 {
		return
	}
	if l.app.BatchLinger <= 0 {
		b.releaseAll(l, opened)
		return
	}
	time.AfterFunc(l.app.BatchLinger, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.releaseAll(l, opened)
	})
}

func (b *batcher) releaseAll(l *lane, batches []*batch) {
	for _, bt := range batches {
		b.release(l, bt)
	}
}

// release puts a batch in line for one of its app's requests. Called with mu held; a second call does nothing.
func (b *batcher) release(l *lane, bt *batch) {
	if bt.ready || b.closed {
		return
	}
	bt.ready = true
	l.ready.push(bt)
	b.startRun(l)
}

// startRun lets one more goroutine send, if there is something to send and a request is free. Called with mu held.
func (b *batcher) startRun(l *lane) {
	if b.closed || l.ready.empty() || l.running+l.resting >= l.app.MaxInFlight {
		return
	}
	l.running++
	b.running.Go(func() { b.run(l) })
}

// run sends what is in line until nothing is.
func (b *batcher) run(l *lane) {
	for {
		b.pace(l, func() bool { return b.hasToSend(l) })
		openID, entries := b.take(l)
		if entries == nil {
			return
		}
		if passed := b.send(l, openID, entries); 0 < passed && passed < len(entries) {
			b.learn(l, passed)
		}
	}
}

// hasToSend reports whether take would return a batch.
func (b *batcher) hasToSend(l *lane) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.closed && !l.ready.empty() && !l.closedToSending()
}

// take closes the first batch in line to further entries and returns those whose waiters still wait, or nothing after
// it has signed the calling goroutine off.
func (b *batcher) take(l *lane) (openID string, entries []entry) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		// One that wants its request back goes first; it takes what is ready afterwards, in this one's place.
		if b.closed || l.ready.empty() || l.running+l.resting > l.app.MaxInFlight {
			l.running--
			l.freed.Signal()
			return "", nil
		}
		bt := l.ready.pop()
		if l.open[bt.openID] == bt {
			delete(l.open, bt.openID)
		}
		for _, e := range bt.entries {
			if e.waiter.gone {
				continue
			}
			e.waiter.unsent--
			entries = append(entries, e)
		}
		switch {
		case len(entries) == 0:
		case l.closedToSending():
			answerAll(entries, l.halt.err)
			entries = entries[:0]
		default:
			l.probeOut = l.probing
			b.count.waited(b.begun.Add(bt.opened))
			return bt.openID, entries
		}
	}
}

// withdraw ends a waiter's interest in what has not been sent and returns how many entries that is: no answer comes
// for them any more. Those under way are still answered.
func (b *batcher) withdraw(w *waiter) (dropped int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	w.gone = true
	return w.unsent
}

// close drops what has not been sent, interrupts the requests under way and waits for them. The worker calls it after
// its handlers have returned: what is still under way then belongs to tasks that are back in the queue, and nobody
// reads its answer.
func (b *batcher) close() {
	b.mu.Lock()
	b.closed = true
	for _, l := range b.lanes {
		l.freed.Broadcast()
	}
	b.mu.Unlock()
	b.cancel()
	b.running.Wait()
}
