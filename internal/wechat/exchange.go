package wechat

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/sethvargo/go-retry"
)

const (
	maxAttempts = 3 // requests for one cloudID, without the repetition for a fresh token
	// firstWait is the wait before the second attempt. It is doubled before the third attempt. Both
	// waits have full jitter.
	firstWait  = 500 * time.Millisecond
	retryUntil = 3 * time.Second // latest start of an attempt, counted from the first

	// The answer for one cloudID takes about 2 KiB (31 days of steps). A longer answer than this
	// does not come from WeChat.
	answerBase    = 1 << 20
	answerPerItem = 64 << 10
)

const (
	textNotSent   = "not sent: its lifetime is over"
	textLeaseOver = "not sent: the process stopped for so long that another worker may have the task"
)

// errOpen requests another attempt because items are still open.
var errOpen = errors.New("wechat: items still open")

// exchange is the state of one GetOpenData call.
type exchange struct {
	client *Client
	tokens TokenSource
	req    Request

	outcomes     []Outcome
	open         []int // indexes of the items without a final outcome
	token        Token // the token that was used last
	replaced     bool  // a token was refused and replaced once
	slotReleased bool  // the slot has been released
	sent         int   // number of requests so far, for their spans
}

// newExchange returns an exchange with all items open.
func newExchange(c *Client, tokens TokenSource, req Request) *exchange {
	x := &exchange{
		client:   c,
		tokens:   tokens,
		req:      req,
		outcomes: make([]Outcome, len(req.Items)),
		open:     make([]int, len(req.Items)),
	}
	for i, item := range req.Items {
		x.outcomes[i].CloudID = item.CloudID
		x.open[i] = i
	}
	return x
}

// backoff returns the waits between attempts. It is stateful, so each exchange has its own. It
// stops if no open item could be sent after the wait.
func (x *exchange) backoff() retry.Backoff {
	waits := retry.WithFullJitter(retry.NewExponential(firstWait))
	waits = retry.WithMaxRetries(maxAttempts-1, retry.WithMaxDuration(retryUntil, waits))
	return retry.BackoffFunc(func() (time.Duration, bool) {
		wait, stop := waits.Next()
		if stop || x.allLate(time.Now().Add(wait)) {
			return wait, true
		}
		x.releaseSlot()
		return wait, false
	})
}

// releaseSlot releases the slot for the wait that follows.
func (x *exchange) releaseSlot() {
	if x.req.Slot != nil && !x.slotReleased {
		x.slotReleased = true
		x.req.Slot.Release()
	}
}

// acquireSlot acquires the slot again. If it returns an error, nothing more may be sent.
func (x *exchange) acquireSlot() *Error {
	if !x.slotReleased {
		return nil
	}
	x.slotReleased = false
	return x.req.Slot.Acquire()
}

// attempt sends the open items. If the token is refused for the first time, attempt sends them
// once more with another token. Its error only controls the repetition.
func (x *exchange) attempt(ctx context.Context) error {
	failure := x.acquireSlot() // released by backoff before a repetition
	if failure == nil {
		failure = x.sendOpen(ctx)
	}
	// A refused token is replaced once. The next refusal is final for this exchange.
	if failure != nil && failure.Class == ClassToken && !x.replaced {
		x.replaced = true
		failure = x.sendWithNewToken(ctx, failure.Code)
	}
	if failure != nil {
		x.fail(failure)
		// Only temporary failures are worth another attempt.
		if failure.Class != ClassRetry {
			x.open = nil
			return failure
		}
	}
	if len(x.open) > 0 {
		return retry.RetryableError(errOpen)
	}
	return nil
}

// sendWithNewToken replaces the token that was refused with this code, and sends again. This is an
// additional request, so it releases the slot and acquires it again.
func (x *exchange) sendWithNewToken(ctx context.Context, code int) *Error {
	x.tokens.Reject(ctx, x.token, code)
	x.releaseSlot()
	if failure := x.acquireSlot(); failure != nil {
		return failure
	}
	return x.sendOpen(ctx)
}

// sendOpen sends the open items whose time limit has not passed. If an item's limit passes while
// the connection is being opened, nothing is sent. sendOpen then repeats without that item.
func (x *exchange) sendOpen(ctx context.Context) *Error {
	for {
		x.dropLate(time.Now())
		if len(x.open) == 0 {
			return nil
		}
		err := x.send(ctx)
		if err == nil {
			return nil
		}
		if failure, ok := errors.AsType[*Error](err); ok {
			return failure
		}
	}
}

// send makes one request for all open items and stores the outcomes. It returns errLate or an
// *Error.
func (x *exchange) send(ctx context.Context) error {
	if failure := x.fetchToken(ctx); failure != nil {
		return failure
	}
	// The metrics and the span cover the request from here on, also if it turns out to be too late.
	sent := x.submitted()
	count := x.client.metrics.begin(x.req.AppID, len(x.open))
	ctx, end := x.startRequest(ctx)
	answers, failure, late := x.request(ctx, sent)
	count(failure, !late)
	defer func() { end(failure, !late) }()
	if late {
		return errLate
	}
	// The request was sent, so it counts for every open item.
	for _, at := range x.open {
		x.outcomes[at].Attempts++
	}
	if failure != nil {
		return failure
	}
	x.storeAnswers(answers)
	return nil
}

// request makes one request and parses its answer. If late is true, nothing was sent because it
// was too late.
func (x *exchange) request(ctx context.Context, sent submitted) (answers []Outcome, failure *Error, late bool) {
	reply, err := x.client.do(ctx, call{
		method: http.MethodPost, to: openDataURL(x.client.openDataURL, x.token, x.req.OpenID),
		content: requestBody(sent.cloudIDs), by: x.earliest(), limit: int64(answerBase + answerPerItem*len(x.open)),
	})
	if errors.Is(err, errLate) {
		return nil, nil, true
	}
	if err != nil {
		failure, ok := errors.AsType[*Error](err)
		if !ok { // impossible, see do
			failure = transient("no answer")
		}
		return nil, failure, false
	}
	answers, failure = parseResponse(reply, sent, x.req.AppID)
	return answers, failure, false
}

// submitted returns the values that a request for the open items carries.
func (x *exchange) submitted() submitted {
	sent := submitted{
		token:    x.token.Value.Reveal(),
		hosted:   x.token.Param != paramAccessToken,
		openID:   x.req.OpenID,
		cloudIDs: make([]string, len(x.open)),
	}
	for i, at := range x.open {
		sent.cloudIDs[i] = x.req.Items[at].CloudID
	}
	return sent
}

// fetchToken sets x.token. It hides an error that is not an *Error, because the text of such an
// error may contain anything.
func (x *exchange) fetchToken(ctx context.Context) *Error {
	token, err := x.tokens.Token(ctx)
	if err == nil {
		x.token = token
		return nil
	}
	if failure, ok := errors.AsType[*Error](err); ok {
		return failure
	}
	return transient("no access token")
}

// storeAnswers stores the answers of the open items. Items that failed with ClassRetry stay open.
func (x *exchange) storeAnswers(answers []Outcome) {
	still := x.open[:0]
	for i, at := range x.open {
		outcome := &x.outcomes[at]
		outcome.Kind, outcome.Data, outcome.Err = answers[i].Kind, answers[i].Data, answers[i].Err
		if outcome.Err != nil && outcome.Err.Class == ClassRetry {
			still = append(still, at)
		}
	}
	x.open = still
}

// fail sets the error of every open item.
func (x *exchange) fail(failure *Error) {
	for _, at := range x.open {
		x.outcomes[at].Err = failure
	}
}

// dropLate closes the open items whose time limit has passed. They keep the error of an earlier
// attempt, if any.
func (x *exchange) dropLate(now time.Time) {
	still := x.open[:0]
	for _, at := range x.open {
		reason := x.req.Items[at].tooLate(now)
		if reason == "" {
			still = append(still, at)
			continue
		}
		if x.outcomes[at].Err == nil {
			x.outcomes[at].Err = transient(reason)
		}
	}
	x.open = still
}

// allLate reports whether no open item could be sent at the time now.
func (x *exchange) allLate(now time.Time) bool {
	for _, at := range x.open {
		if x.req.Items[at].tooLate(now) == "" {
			return false
		}
	}
	return true
}

// earliest returns the earliest time limit of the open items, or the zero time if none has a
// limit.
func (x *exchange) earliest() time.Time {
	var first time.Time
	for _, at := range x.open {
		by := x.req.Items[at].by()
		if !by.IsZero() && (first.IsZero() || by.Before(first)) {
			first = by
		}
	}
	return first
}
