package batch

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/sony/gobreaker/v2"
	"go.opentelemetry.io/otel/trace"

	"cloudidq/internal/wechat"
)

// Rates is the part of [coord.Rates] that the batcher uses.
type Rates interface {
	Take(ctx context.Context, appID string, perMinute int) (wait time.Duration, err error)
}

// Activity counts what the batcher sends; [activity.Recorder] implements it. Sent does not block.
type Activity interface {
	// Sent is called after each call of WeChat. requests is the number of requests that the
	// call made, and cloudIDs the number of cloudIDs in them.
	Sent(appID string, requests, cloudIDs int)
}

// noActivity discards activity reports.
type noActivity struct{}

func (noActivity) Sent(string, int, int) {}

// The circuit breaker of an app. After breakerTrips consecutive calls that got no answer at
// all, nothing is sent for breakerOpen. Without it, if WeChat or the route to it hung, every
// task of the app would wait until its timeout.
const (
	breakerTrips = 10
	breakerOpen  = 5 * time.Second
)

// newBreaker returns the circuit breaker of one app.
func newBreaker() *gobreaker.CircuitBreaker[[]wechat.Outcome] {
	return gobreaker.NewCircuitBreaker[[]wechat.Outcome](gobreaker.Settings{
		Timeout:     breakerOpen,
		ReadyToTrip: func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= breakerTrips },
	})
}

// send makes the request for entries and answers them. If WeChat refuses the request as
// malformed or too large, send halves it until the bad item is alone. It returns the size of
// the largest request that passed. It returns 0 if an item was refused even alone, because then
// the size was not at fault.
func (b *Batcher) send(l *appQueue, openID string, entries []entry) (passed int) {
	req := wechat.Request{AppID: l.app.AppID, OpenID: openID, Items: make([]wechat.Item, len(entries)), Slot: slot{b, l}}
	for i, e := range entries {
		req.Items[i] = e.item
	}
	if b.traced {
		req.Origins = origins(entries)
	}
	outcomes := b.exchange(l, req)
	if refused(outcomes) && len(entries) > 1 {
		half := len(entries) / 2
		first, second := b.send(l, openID, entries[:half]), b.send(l, openID, entries[half:])
		if first == 0 || second == 0 {
			return 0
		}
		return max(first, second)
	}
	for i, e := range entries {
		e.waiter.Answers <- Answer{Index: e.index, Outcome: outcomes[i]}
	}
	if refused(outcomes) {
		return 0
	}
	return len(entries)
}

// exchange makes one request behind the app's breaker. It checks the outcomes for the start or
// end of a pause.
func (b *Batcher) exchange(l *appQueue, req wechat.Request) []wechat.Outcome {
	outcomes, err := l.breaker.Execute(func() ([]wechat.Outcome, error) {
		outcomes := b.wechat.GetOpenData(b.runCtx, l.app.Tokens, req)
		reportSent(b.activity, l.app.AppID, outcomes)
		return outcomes, noAnswer(outcomes)
	})
	if outcomes == nil { // the breaker is open, and err is the breaker's
		outcomes = outcomesOf(req.Items, &wechat.Error{Class: wechat.ClassRetry, Message: "not sent: WeChat does not answer (" + err.Error() + ")"})
	}
	b.detectPause(l, outcomes)
	return outcomes
}

// noAnswer returns an error if the request was sent and WeChat answered for none of its items.
func noAnswer(outcomes []wechat.Outcome) error {
	for _, o := range outcomes {
		if o.Err == nil || o.Err.Class != wechat.ClassRetry || o.Err.Code != 0 || o.Attempts == 0 {
			return nil
		}
	}
	return outcomes[0].Err
}

// outcomesOf returns the same error for all items.
func outcomesOf(items []wechat.Item, err *wechat.Error) []wechat.Outcome {
	outcomes := make([]wechat.Outcome, len(items))
	for i, it := range items {
		outcomes[i] = wechat.Outcome{CloudID: it.CloudID, Err: err}
	}
	return outcomes
}

// refused reports whether WeChat rejected the form of the request as a whole.
func refused(outcomes []wechat.Outcome) bool {
	return outcomes[0].Err != nil && outcomes[0].Err.Class == wechat.ClassBatch
}

// pace waits until the app may make one more request in the current minute, which all processes
// share. It stops waiting when wanted reports false, because a request taken from the minute
// cannot be returned. Only one goroutine of an app waits for Redis at a time. While Redis is
// unavailable, pace does not return, so nothing is sent.
func (b *Batcher) pace(l *appQueue, wanted func() bool) {
	if l.app.RatePerMinute == 0 || b.rates == nil {
		return
	}
	select {
	// The channel works as a mutex that can be left when the batcher closes.
	case l.turn <- struct{}{}:
		defer func() { <-l.turn }()
	case <-b.runCtx.Done():
		return
	}
	for begun := time.Now(); wanted(); {
		wait, err := b.rates.Take(b.runCtx, l.app.AppID, l.app.RatePerMinute)
		if err == nil && wait == 0 {
			b.metrics.paced(l.app.AppID, time.Since(begun))
			return
		}
		if err != nil {
			wait = time.Second
		}
		// The jitter keeps the processes from using Redis at the same time.
		timer := time.NewTimer(wait + rand.N(wait/10+1))
		select {
		case <-timer.C:
		case <-b.runCtx.Done():
			timer.Stop()
			return
		}
	}
}

// reportSent reports a call of WeChat, from its outcomes. Only open cloudIDs are repeated within
// a call. So the cloudID that was sent most often was in every request.
func reportSent(a Activity, appID string, outcomes []wechat.Outcome) {
	requests, cloudIDs := 0, 0
	for i := range outcomes {
		requests = max(requests, outcomes[i].Attempts)
		cloudIDs += outcomes[i].Attempts
	}
	if requests > 0 {
		a.Sent(appID, requests, cloudIDs)
	}
}

// origins returns the spans of the attempts that the entries belong to, each span once.
func origins(entries []entry) (spans []trace.SpanContext) {
	var last *Waiter
	seen := make(map[trace.SpanID]struct{})
	for _, e := range entries {
		if e.waiter == last || !e.waiter.from.IsValid() {
			continue
		}
		last = e.waiter
		if _, there := seen[e.waiter.from.SpanID()]; !there {
			seen[e.waiter.from.SpanID()] = struct{}{}
			spans = append(spans, e.waiter.from)
		}
	}
	return spans
}
