package worker

import (
	"context"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"

	"cloudidq/internal/wechat"
)

// openData is the part of [wechat.Client] that the batcher uses. GetOpenData returns one
// outcome per item, in order.
type openData interface {
	GetOpenData(ctx context.Context, tokens wechat.TokenSource, req wechat.Request) []wechat.Outcome
}

// batcher merges the cloudIDs of all tasks in flight into requests. A request carries one
// openid, so a batch holds the cloudIDs of one (appid, openid). If [App.GroupByApp] is set, it
// holds cloudIDs of one app. A batch becomes ready when it is full or its linger is over. More
// cloudIDs may join it until a request of its app is free to take it.
//
// A handler adds its entries and reads their answers from the waiter's channel. To leave early,
// it withdraws the waiter.
type batcher struct {
	wechat   openData
	rates    rates           // nil = no app has a rate
	activity recorder        // called without mu
	tell     func(pauseNews) // called without mu; does not block
	count    *metrics        // nil = nothing is counted
	traced   bool            // requests carry the spans of the attempts that they belong to
	begun    time.Time
	runCtx   context.Context // context of every request; close cancels it
	cancel   context.CancelFunc

	mu      sync.Mutex
	lanes   map[string]*lane   // app queues by appid; the map and everything in it are guarded by mu
	local   map[*lane]struct{} // app queues whose pause is not yet in Redis; guarded by mu
	closed  bool               // guarded by mu
	running sync.WaitGroup     // the sending goroutines; Add only under mu and before closed
}

// waiter is the connection of one handler to the batcher.
type waiter struct {
	answers chan answer // has room for every entry, so sending an answer never blocks
	from    trace.SpanContext
	gone    bool // entries that are not sent yet are dropped; guarded by batcher.mu
	unsent  int  // guarded by batcher.mu
}

// entry is one cloudID of one waiter. The waiter chooses the index.
type entry struct {
	waiter *waiter
	index  int
	item   wechat.Item
}

type answer struct {
	index   int
	outcome wechat.Outcome
}

// batch holds the entries of one future request, all of one openid.
type batch struct {
	openID  string
	entries []entry
	opened  time.Duration // time since batcher.begun
	ready   bool          // the batch is or was in lane.ready
}

// newBatcher returns a batcher with one app queue for each of apps. close stops it.
func newBatcher(client openData, apps []App) *batcher {
	ctx, cancel := context.WithCancel(context.Background())
	b := &batcher{
		wechat: client, activity: noActivity{}, tell: func(pauseNews) {}, begun: time.Now(), runCtx: ctx, cancel: cancel,
		lanes: make(map[string]*lane, len(apps)), local: make(map[*lane]struct{}),
	}
	for _, app := range apps {
		b.open(app)
	}
	return b
}

// open creates the queue of an app, unless the app has one.
func (b *batcher) open(app App) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.lanes[app.AppID] == nil {
		b.lanes[app.AppID] = newLane(app, &b.mu)
	}
}

// has reports whether an app has a queue.
func (b *batcher) has(appID string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.lanes[appID] != nil
}

// app returns the settings of an app that has a queue.
func (b *batcher) app(appID string) (App, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.lanes[appID]
	if l == nil {
		return App{}, false
	}
	return l.app, true
}

// ask is a cloudID to be requested, as add takes it.
type ask struct {
	openID string
	item   wechat.Item
}

// add puts asks into batches and returns a waiter. The waiter receives one answer for each ask,
// with the ask's index in asks. from is the span that the asks belong to. The app must have a
// queue.
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

// releaseLater starts one timer for all batches that one call of add has opened. The caller
// holds mu.
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

// releaseAll releases several batches. The caller holds mu.
func (b *batcher) releaseAll(l *lane, batches []*batch) {
	for _, bt := range batches {
		b.release(l, bt)
	}
}

// release queues a batch for a request of its app. A second call does nothing. The caller holds
// mu.
func (b *batcher) release(l *lane, bt *batch) {
	if bt.ready || b.closed {
		return
	}
	bt.ready = true
	l.ready.push(bt)
	b.startRun(l)
}

// startRun starts one more sending goroutine if a batch is ready and a request is free. The
// caller holds mu.
func (b *batcher) startRun(l *lane) {
	if b.closed || l.ready.empty() || l.running+l.resting >= l.app.MaxInFlight {
		return
	}
	l.running++
	b.running.Go(func() { b.run(l) })
}

// run sends ready batches until none is left.
func (b *batcher) run(l *lane) {
	for {
		b.pace(l, func() bool { return b.hasToSend(l) })
		openID, entries := b.take(l)
		if entries == nil {
			return
		}
		// A part of the batch passed where the whole did not: the size was at fault.
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

// take removes the first ready batch, so that no more entries join it. It returns the entries
// whose waiters still wait. If there is nothing to send, it returns no entries, and the calling
// goroutine no longer counts as running and must end.
func (b *batcher) take(l *lane) (openID string, entries []entry) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		// A goroutine that waits in reacquire goes first. It takes the ready batches
		// afterwards, in place of this one.
		if b.closed || l.ready.empty() || l.running+l.resting > l.app.MaxInFlight {
			l.running--
			l.freed.Signal()
			return "", nil
		}
		bt := l.ready.pop()
		// Entries could join until now, since the batch may have become ready before it was
		// full.
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
			// The app is paused: the cloudIDs get the pause's error and nothing is sent.
			answerAll(entries, l.halt.err)
			entries = entries[:0]
		default:
			l.probeOut = l.probing
			b.count.waited(b.begun.Add(bt.opened))
			return bt.openID, entries
		}
	}
}

// withdraw drops the entries of a waiter that are not sent yet and returns their number. The
// waiter receives no answer for them. Entries in flight are still answered.
func (b *batcher) withdraw(w *waiter) (dropped int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	w.gone = true
	return w.unsent
}

// close drops the entries that are not sent, cancels the requests in flight and waits for them.
// The worker calls it after its handlers have returned. The requests still in flight then
// belong to tasks that are back in the queue, and no handler reads their answers.
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
