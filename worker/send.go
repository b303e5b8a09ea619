package worker

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/sony/gobreaker/v2"

	"cloudidq/internal/wechat"
)

// rates is the part of [store.Rates] that the batcher uses.
type rates interface {
	Take(ctx context.Context, appID string, perMinute int) (wait time.Duration, err error)
}

// The breaker of an app: after so many calls in a row that got no answer at all, nothing is sent for a while. A
// WeChat, or a way to it, that hangs would else hold every task of the app until its time-out.
const (
	breakerTrips = 10
	breakerOpen  = 5 * time.Second
)

func newBreaker() *gobreaker.CircuitBreaker[[]wechat.Outcome] {
	return gobreaker.NewCircuitBreaker[[]wechat.Outcome](gobreaker.Settings{
		Timeout:     breakerOpen,
		ReadyToTrip: func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= breakerTrips },
	})
}

// send makes the request for entries and answers them. A request refused as malformed or too large is halved until
// the bad item stands alone. It returns the size of the largest request that passed, or 0 if one item was refused even
// alone: then the size was not at fault.
func (b *batcher) send(l *lane, openID string, entries []entry) (passed int) {
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
		e.waiter.answers <- answer{index: e.index, outcome: outcomes[i]}
	}
	if refused(outcomes) {
		return 0
	}
	return len(entries)
}

// exchange makes one request behind the app's breaker and tells the pauses what came of it.
func (b *batcher) exchange(l *lane, req wechat.Request) []wechat.Outcome {
	outcomes, err := l.breaker.Execute(func() ([]wechat.Outcome, error) {
		outcomes := b.wechat.GetOpenData(b.runCtx, l.app.Tokens, req)
		tellSent(b.activity, l.app.AppID, outcomes)
		return outcomes, noAnswer(outcomes)
	})
	if outcomes == nil { // the breaker is open: err is its own
		outcomes = outcomesOf(req.Items, &wechat.Error{Class: wechat.ClassRetry, Message: "not sent: WeChat does not answer (" + err.Error() + ")"})
	}
	b.judge(l, outcomes)
	return outcomes
}

// noAnswer returns an error if the call was made and brought no answer of WeChat for anything.
func noAnswer(outcomes []wechat.Outcome) error {
	for _, o := range outcomes {
		if o.Err == nil || o.Err.Class != wechat.ClassRetry || o.Err.Code != 0 || o.Attempts == 0 {
			return nil
		}
	}
	return outcomes[0].Err
}

func outcomesOf(items []wechat.Item, err *wechat.Error) []wechat.Outcome {
	outcomes := make([]wechat.Outcome, len(items))
	for i, it := range items {
		outcomes[i] = wechat.Outcome{CloudID: it.CloudID, Err: err}
	}
	return outcomes
}

// refused reports whether WeChat turned down the request as a whole for its form.
func refused(outcomes []wechat.Outcome) bool {
	return outcomes[0].Err != nil && outcomes[0].Err.Class == wechat.ClassBatch
}

// pace waits until the app's minute, which all processes share, has room for one more request, or until none is wanted
// any more: what is taken from the minute cannot be given back. One goroutine asks at a time; while Redis is away
// nothing is sent.
func (b *batcher) pace(l *lane, wanted func() bool) {
	if l.app.RatePerMinute == 0 || b.rates == nil {
		return
	}
	select {
	case l.turn <- struct{}{}:
		defer func() { <-l.turn }()
	case <-b.runCtx.Done():
		return
	}
	for begun := time.Now(); wanted(); {
		wait, err := b.rates.Take(b.runCtx, l.app.AppID, l.app.RatePerMinute)
		if err == nil && wait == 0 {
			b.count.paced(l.app.AppID, time.Since(begun))
			return
		}
		if err != nil {
			wait = time.Second
		}
		timer := time.NewTimer(wait + rand.N(wait/10+1))
		select {
		case <-timer.C:
		case <-b.runCtx.Done():
			timer.Stop()
			return
		}
	}
}
