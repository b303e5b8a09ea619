// Package batch merges the cloudIDs of all tasks in flight into requests to WeChat, and limits the
// requests of each app: how many are in flight, how many start in a minute, and none while the
// app is paused.
//
// [Batcher] holds the batches (batcher.go) in one queue per app (appqueue.go) and sends them
// (send.go). An answer that concerns a whole app blocks its queue (pause.go). [Pauser] makes the
// pause known to all processes, and ends it (pauser.go).
package batch

import (
	"context"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"

	"cloudidq/internal/wechat"
)

// OpenData is the part of [wechat.Client] that the batcher uses. GetOpenData returns one
// outcome per item, in order.
type OpenData interface {
	GetOpenData(ctx context.Context, tokens wechat.TokenSource, req wechat.Request) []wechat.Outcome
}

// Batcher merges the cloudIDs of all tasks in flight into requests. A request carries one
// openid, so a batch holds the cloudIDs of one (appid, openid). If [App.GroupByApp] is set, it
// holds cloudIDs of one app. A batch becomes ready when it is full or its linger is over. More
// cloudIDs may join it until a request of its app is free to take it.
//
// A handler adds its entries and reads their answers from the waiter's channel. To leave early,
// it withdraws the waiter.
type Batcher struct {
	wechat   OpenData
	rates    Rates             // nil = no app has a rate
	activity Activity          // called without mu
	report   func(pauseReport) // called without mu; does not block
	metrics  *Metrics          // nil = nothing is counted
	traced   bool              // requests carry the spans of the attempts that they belong to
	begun    time.Time
	runCtx   context.Context // context of every request; Close cancels it
	cancel   context.CancelFunc

	mu      sync.Mutex
	queues  map[string]*appQueue   // app queues by appid; the map and everything in it are guarded by mu
	local   map[*appQueue]struct{} // app queues whose pause is not yet in Redis; guarded by mu
	closed  bool                   // guarded by mu
	running sync.WaitGroup         // the sending goroutines; Add only under mu and before closed
}

// Waiter is the connection of one handler to the batcher.
type Waiter struct {
	Answers chan Answer // has room for every entry, so sending an answer never blocks
	from    trace.SpanContext
	gone    bool // entries that are not sent yet are dropped; guarded by Batcher.mu
	unsent  int  // guarded by Batcher.mu
}

// entry is one cloudID of one waiter. The waiter chooses the index.
type entry struct {
	waiter *Waiter
	index  int
	item   wechat.Item
}

// Answer is the outcome for one cloudID of a call of Add.
type Answer struct {
	Index   int
	Outcome wechat.Outcome
}

// batch holds the entries of one future request, all of one openid.
type batch struct {
	openID  string
	entries []entry
	opened  time.Duration // time since Batcher.begun
	ready   bool          // the batch is or was in appQueue.ready
}

// Options are the optional dependencies of a [Batcher].
type Options struct {
	Rates    Rates    // nil if no app has a RatePerMinute
	Activity Activity // nil = nothing is counted
	Metrics  *Metrics // nil = nothing is counted
	Traced   bool     // requests carry the spans of the attempts that they belong to
}

// New returns a batcher with one app queue for each of apps. Close stops it.
func New(client OpenData, apps []App, options Options) *Batcher {
	ctx, cancel := context.WithCancel(context.Background())
	b := &Batcher{
		wechat: client, rates: options.Rates, activity: options.Activity, metrics: options.Metrics, traced: options.Traced,
		report: func(pauseReport) {}, begun: time.Now(), runCtx: ctx, cancel: cancel,
		queues: make(map[string]*appQueue, len(apps)), local: make(map[*appQueue]struct{}),
	}
	if b.activity == nil {
		b.activity = noActivity{}
	}
	for _, app := range apps {
		b.Open(app)
	}
	return b
}

// Open creates the queue of an app, unless the app has one.
func (b *Batcher) Open(app App) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.queues[app.AppID] == nil {
		b.queues[app.AppID] = newAppQueue(app, &b.mu)
	}
}

// Has reports whether an app has a queue.
func (b *Batcher) Has(appID string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.queues[appID] != nil
}

// App returns the settings of an app that has a queue.
func (b *Batcher) App(appID string) (App, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.queues[appID]
	if l == nil {
		return App{}, false
	}
	return l.app, true
}

// CloudID is a cloudID to be requested.
type CloudID struct {
	OpenID string
	Item   wechat.Item
}

// Add puts cloudIDs into batches and returns a waiter. The waiter receives one answer for each
// cloudID, with its index in cloudIDs. from is the span that the cloudIDs belong to. The app must
// have a queue.
func (b *Batcher) Add(from trace.SpanContext, appID string, cloudIDs []CloudID) *Waiter {
	w := &Waiter{Answers: make(chan Answer, len(cloudIDs)), from: from, unsent: len(cloudIDs)}
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.queues[appID]
	now := time.Now()
	limit := l.batchLimit(now)
	var opened []*batch
	for i, a := range cloudIDs {
		openID := a.OpenID
		if l.app.GroupByApp {
			openID = ""
		}
		bt := l.open[openID]
		if bt == nil {
			bt = &batch{openID: openID, opened: now.Sub(b.begun)}
			l.open[openID] = bt
			opened = append(opened, bt)
		}
		bt.entries = append(bt.entries, entry{waiter: w, index: i, item: a.Item})
		if len(bt.entries) >= limit {
			delete(l.open, openID)
			b.release(l, bt)
		}
	}
	b.releaseLater(l, opened)
	return w
}

// releaseLater starts one timer for all batches that one call of Add has opened. The caller
// holds mu.
func (b *Batcher) releaseLater(l *appQueue, opened []*batch) {
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
func (b *Batcher) releaseAll(l *appQueue, batches []*batch) {
	for _, bt := range batches {
		b.release(l, bt)
	}
}

// release queues a batch for a request of its app. A second call does nothing. The caller holds
// mu.
func (b *Batcher) release(l *appQueue, bt *batch) {
	if bt.ready || b.closed {
		return
	}
	bt.ready = true
	l.ready.push(bt)
	b.startRun(l)
}

// startRun starts one more sending goroutine if a batch is ready and a request is free. The
// caller holds mu.
func (b *Batcher) startRun(l *appQueue) {
	if b.closed || l.ready.empty() || l.running+l.resting >= l.app.MaxInFlight {
		return
	}
	l.running++
	b.running.Go(func() { b.run(l) })
}

// run sends ready batches until none is left.
func (b *Batcher) run(l *appQueue) {
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
func (b *Batcher) hasToSend(l *appQueue) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.closed && !l.ready.empty() && !l.closedToSending()
}

// take removes the first ready batch, so that no more entries join it. It returns the entries
// whose waiters still wait. If there is nothing to send, it returns no entries, and the calling
// goroutine no longer counts as running and must end.
func (b *Batcher) take(l *appQueue) (openID string, entries []entry) {
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
			answerAll(entries, l.block.Err)
			entries = entries[:0]
		default:
			l.probeOut = l.probing
			b.metrics.waited(b.begun.Add(bt.opened))
			return bt.openID, entries
		}
	}
}

// Withdraw drops the entries of a waiter that are not sent yet and returns their number. The
// waiter receives no answer for them. Entries in flight are still answered.
func (b *Batcher) Withdraw(w *Waiter) (dropped int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	w.gone = true
	return w.unsent
}

// Close drops the entries that are not sent, cancels the requests in flight and waits for them.
// The worker calls it after its handlers have returned. The requests still in flight then
// belong to tasks that are back in the queue, and no handler reads their answers.
func (b *Batcher) Close() {
	b.mu.Lock()
	b.closed = true
	for _, l := range b.queues {
		l.freed.Broadcast()
	}
	b.mu.Unlock()
	b.cancel()
	b.running.Wait()
}
