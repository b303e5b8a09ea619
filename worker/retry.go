package worker

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/hibiken/asynq"

	"cloudidq/internal/webhook"
	"cloudidq/internal/wechat"
	"cloudidq/store"
)

// This file alone decides what the queue does about an outcome. The rest of the worker says what happened.
//
//	answer of WeChat              record            task
//	data                          resolved          done
//	class item, call, bug, batch  failed            done, archived if no cloudID of it brought data
//	class expired                 expired           the same
//	class retry, token            pending           again after 1, 2, 4, 8, 15, 15 … s, counted as a failure
//	class rate                    pending           the same: the next minute
//	class quota, app              pending           again when the app's pause has ended (pauseEnd)
//	lifetime over                 expired           as class expired
//	none: of a newer version      none              again soon, not counted, until a newer worker takes it
//
//	answer of an endpoint         delivery          task
//	2xx                           delivered         done
//	410                           held              done; the endpoint is disabled, an operator replays
//	anything else                 pending           again by webhook.Wait, counted as a failure
//	…, five days of nothing else  held              done; the endpoint is disabled
//	…, for the last time          exhausted         archived; an operator replays
//	none: shut, or slots taken    pending           done; it waits in the line of its endpoint (line.go)
//	none: store away, no key      pending           again soon, not counted
//
// Waiting is not failing: a task that comes back for quota, permission or another task's claim uses up no retry
// (IsFailure is false) and the dashboard does not count it. Its end is the cloudIDs' own lifetime.

// Delays between two tries of a task.
const (
	delayQuota   = time.Minute      // 45009 may be a short matter or last until midnight in Beijing: ask now and then
	delayApp     = 15 * time.Second // an operator mends it, or the lifetime ends
	delayWaiting = time.Second      // for a claim or a free request: asynq's clock has no finer step
	delayShare   = 3 * time.Second  // for another app's task: ahead.go brings it back to the head before that is over
	delayPaused  = time.Second      // after the end of a pause, for its probe
	delayNewer   = 2 * time.Second  // for a worker of another version
	maxPaused    = 20 * time.Second // in a pause, since an operator may end it early
)

// Pauses of an app.
const (
	firstQuotaPause = 2 * time.Minute
	firstAppPause   = 15 * time.Second
	maxAppPause     = 10 * time.Minute
)

// beijing is where WeChat's day ends.
var beijing = time.FixedZone("Beijing", 8*60*60)

// pauseEnd is when an app that has been paused times times in a row is tried again. 45011 is a matter of the minute;
// 45009 may pass in minutes or last until midnight in Beijing; what an operator must mend is tried ever more seldom.
func pauseEnd(class wechat.Class, times int, now time.Time) time.Time {
	switch {
	case class == wechat.ClassRate:
		return nextMinute(now)
	case class == wechat.ClassQuota && times == 1:
		return now.Add(firstQuotaPause)
	case class == wechat.ClassQuota:
		t := now.In(beijing)
		return time.Date(t.Year(), t.Month(), t.Day()+1, 0, 0, 0, 0, beijing)
	default:
		return now.Add(min(maxAppPause, firstAppPause<<min(times-1, 10)))
	}
}

func nextMinute(now time.Time) time.Time { return now.Truncate(time.Minute).Add(time.Minute) }

// backoff is the delay after the n-th failed try of a task.
var backoff = [...]time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 15 * time.Second}

// endStatus returns the state in which an error of WeChat ends a cloudID, or [store.Pending] if it does not.
func endStatus(err *wechat.Error) store.Status {
	switch err.Class {
	case wechat.ClassItem, wechat.ClassCall, wechat.ClassBatch, wechat.ClassBug:
		return store.Failed
	case wechat.ClassExpired:
		return store.Expired
	default:
		return store.Pending
	}
}

// againError sends a task back to the queue for the cloudIDs that are still open.
type againError struct {
	open    int           // cloudIDs without an end
	reason  string        // why, without any submitted value: asynq stores it, the dashboard shows it
	delay   time.Duration // until the next try; 0 = the back-off by number of tries
	latest  time.Time     // the next try comes no later than this: the first open cloudID's end of life
	failure bool          // counts as a failed try
}

// Error is what the dashboard shows.
func (e *againError) Error() string {
	if e.open == 0 {
		return e.reason
	}
	return fmt.Sprintf("open cloudIDs: %d; %s", e.open, e.reason)
}

// againFor is what an error of WeChat asks of the queue while the cloudID lives.
func againFor(err *wechat.Error, now time.Time) againError {
	again := againError{reason: err.Error()}
	switch err.Class {
	case wechat.ClassRate:
		again.delay = nextMinute(now).Sub(now)
	case wechat.ClassQuota:
		again.delay = delayQuota
	case wechat.ClassApp:
		again.delay = delayApp
	default:
		again.failure = true
	}
	return again
}

// againAfter is for cloudIDs of an app that is paused.
func againAfter(h *halt, now time.Time) againError {
	return againError{reason: h.err.Message, delay: min(max(0, h.until.Sub(now))+delayPaused, maxPaused)}
}

// merge folds the wish of one more open cloudID into e: the soonest next try wins, and its reason is shown.
func (e *againError) merge(other againError) {
	first := e.open == 0
	e.open++
	if first || other.wait(0) < e.wait(0) {
		e.reason, e.delay = other.reason, other.delay
	}
	e.failure = e.failure || other.failure
	if !other.latest.IsZero() && (e.latest.IsZero() || other.latest.Before(e.latest)) {
		e.latest = other.latest
	}
}

func (e *againError) wait(retried int) time.Duration {
	if e.delay > 0 {
		return e.delay
	}
	return backoff[min(retried, len(backoff)-1)]
}

// archived is the error of a task that must not be tried again; asynq keeps it, with reason, where the dashboard
// shows it.
func archived(reason string) error {
	return fmt.Errorf("%s: %w", reason, asynq.SkipRetry)
}

// makeWay is for a task that waits for its app's share of the slots and leaves its own to another app's.
func makeWay() againError {
	return againError{reason: "its app has its share of the slots", delay: delayShare + rand.N(delayShare)}
}

// leftToNewer sends a task back until a worker comes that reads it, as in the middle of an upgrade. Nothing of it is known,
// its lifetimes neither.
func leftToNewer(err error) error {
	return &againError{reason: err.Error(), delay: delayNewer + rand.N(delayNewer)}
}

// retryDelay is asynq's RetryDelayFunc. The part of a second spreads tasks that failed together: asynq cuts the moment
// to whole seconds.
func retryDelay(retried int, err error, _ *asynq.Task) time.Duration {
	again, ok := errors.AsType[*againError](err)
	later, isLater := errors.AsType[*laterError](err)
	switch {
	case ok:
		return again.capped(again.wait(retried)+rand.N(time.Second), time.Now())
	case isLater:
		return later.delay
	case errors.Is(err, asynq.ErrLeaseExpired):
		return 0 // its worker is dead; the cloudIDs have waited long enough
	default:
		return backoff[min(retried, len(backoff)-1)]
	}
}

// capped shortens d so that the next try comes right after the first open cloudID has outlived its lifetime, and can
// say so.
func (e *againError) capped(d time.Duration, now time.Time) time.Duration {
	if e.latest.IsZero() {
		return d
	}
	// One second more, because asynq cuts the moment down to a whole one.
	return max(0, min(d, e.latest.Sub(now)+time.Second))
}

// isFailure is asynq's IsFailure: whether a try uses up a retry and counts in the statistics.
func isFailure(err error) bool {
	if again, ok := errors.AsType[*againError](err); ok {
		return again.failure
	}
	if later, ok := errors.AsType[*laterError](err); ok {
		return later.failure
	}
	// A crash or a stop of the worker is no fault of the task.
	return !errors.Is(err, asynq.ErrLeaseExpired) && !errors.Is(err, context.Canceled)
}

// verdict is what becomes of a delivery.
type verdict struct {
	state   store.DeliveryState
	delay   time.Duration // of the next attempt, while pending
	reason  string        // why it is not delivered
	disable string        // why its endpoint is disabled; empty = it is not
	attempt *store.Attempt
}

// judge says what becomes of a delivery after its n-th attempt has failed, at an endpoint that was in a state before.
func judge(n int, attempt webhook.Attempt, before store.EndpointState, now time.Time) verdict {
	v := verdict{reason: fmt.Sprintf("attempt %d: %s", n, attempt.Class)}
	if attempt.Status != 0 {
		v.reason = fmt.Sprintf("attempt %d: %s (HTTP %d)", n, attempt.Class, attempt.Status)
	}
	var again bool
	v.delay, again = webhook.Wait(n, attempt.RetryAfter)
	switch {
	case attempt.Class == webhook.Gone:
		v.state, v.disable = store.DeliveryHeld, "it answered 410"
	case webhook.Disable(before.FirstFailure.Time, before.LastFailure.Time, now):
		v.state, v.disable = store.DeliveryHeld, "it has done nothing but fail for five days"
	case again:
		v.state = store.DeliveryPending
	default:
		v.state = store.DeliveryExhausted
	}
	return v
}

// err is what the queue hears.
func (v verdict) err() error {
	switch v.state {
	case store.DeliveryPending:
		return &laterError{reason: v.reason, delay: v.delay, failure: true}
	case store.DeliveryExhausted:
		return archived(v.reason + "; the last one, cloudidq deliveries replay begins anew")
	default:
		return nil
	}
}

// An endpoint that does not take deliveries is shut for all of them.
const (
	endpointTrips = 5 // attempts in a row that nobody took
	firstShut     = 30 * time.Second
	maxShut       = 2 * time.Minute
	maxAsked      = time.Hour        // by Retry-After
	probeFor      = 45 * time.Second // from one probe to the next, if nothing is heard: longer than an attempt
)

// shutFor is how long nothing is sent to an endpoint after a failure: half a minute, ever longer while it goes on failing,
// and as long as it asks for. 0 = it stays open.
func shutFor(before store.EndpointState, retryAfter time.Duration, now time.Time) time.Duration {
	if before.InRow < endpointTrips {
		return 0
	}
	pause := min(maxShut, max(firstShut, now.Sub(before.FirstFailure.Time)/10))
	return max(pause, min(retryAfter, maxAsked))
}

// laterError sends a delivery back to the queue.
type laterError struct {
	reason  string // the dashboard shows it: no address, no value
	delay   time.Duration
	failure bool // an attempt was made
}

// Error is what the dashboard shows.
func (e *laterError) Error() string { return e.reason }

// Delays of a delivery that was not tried.
const (
	delaySoon  = time.Second
	delayLater = 30 * time.Second
)

func deliverSoon(reason string) error {
	return &laterError{reason: reason, delay: delaySoon + rand.N(delaySoon)}
}

func deliverLater(reason string) error {
	return &laterError{reason: reason, delay: delayLater + rand.N(delayLater/2)}
}
