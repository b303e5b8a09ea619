package worker

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/hibiken/asynq"

	"cloudidq/internal/attempt"
	"cloudidq/internal/batch"
	"cloudidq/internal/wechat"
	"cloudidq/store"
)

// This file alone decides what the queue does about an answer of WeChat. The rest of the worker
// reports what happened. What the queue does about an attempt at a delivery is decided in
// internal/deliver/decision.go.
//
//	answer of WeChat              record            task
//	data                          resolved          done
//	class item, call, bug, batch  failed            done; archived if no cloudID brought data
//	class expired                 expired           as for class item
//	class retry, token            pending           failure; retried after 1, 2, 4, 8, 15, 15 … s
//	class rate                    pending           retried in the next minute
//	class quota, app              pending           retried after the app's pause (pauseEnd)
//	lifetime over                 expired           as for class expired
//	none: task of newer version   none              retried soon, until a newer worker takes it
//
// In the table, "failure" means that the attempt uses up a retry and counts as failed on the
// dashboard. Waiting is not a failure: attempt.IsFailure returns false for a task that is requeued
// for quota, permission or another task's claim. Such a task waits until the lifetime of its
// cloudIDs ends.

// Delays between two attempts of a task.
const (
	// 45009 may pass soon or last until midnight in Beijing, so the task is retried now and
	// then.
	delayQuota   = time.Minute
	delayApp     = 15 * time.Second // until an operator fixes it or the lifetime ends
	delayWaiting = time.Second      // for a claim or a free request; asynq's delays are whole seconds
	delayShare   = 3 * time.Second  // for another app's task; ahead.go returns it to the head earlier
	delayPaused  = time.Second      // after the end of a pause, for the probe
	delayNewer   = 2 * time.Second  // for a worker of a newer version
	maxPaused    = 20 * time.Second // during a pause, because an operator may end it early
)

// backoff is the delay after the n-th failed attempt of a task. The last value repeats.
var backoff = [...]time.Duration{
	time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 15 * time.Second,
}

// finalStatus returns the final status that an error of WeChat gives a cloudID. It returns
// [store.Pending] if the error is not final.
func finalStatus(err *wechat.Error) store.Status {
	switch err.Class {
	case wechat.ClassItem, wechat.ClassCall, wechat.ClassBatch, wechat.ClassBug:
		return store.Failed
	case wechat.ClassExpired:
		return store.Expired
	default:
		return store.Pending
	}
}

// requeueError requeues a task for the cloudIDs that are still open.
type requeueError struct {
	open int // cloudIDs without a final status
	// reason says why. It contains no submitted value, because asynq stores it and the
	// dashboard shows it.
	reason string
	delay  time.Duration // until the next attempt; 0 = backoff, by the number of retries
	// latest bounds the time of the next attempt. It is when the lifetime of the first open
	// cloudID ends.
	latest  time.Time
	failure bool // counts as a failed attempt
}

// CountsAsFailure implements [attempt.Requeue].
func (e *requeueError) CountsAsFailure() bool { return e.failure }

// Error is what the dashboard shows.
func (e *requeueError) Error() string {
	if e.open == 0 {
		return e.reason
	}
	return fmt.Sprintf("open cloudIDs: %d; %s", e.open, e.reason)
}

// requeueFor returns how the task is requeued after an error of WeChat, while the cloudID's
// lifetime lasts.
func requeueFor(err *wechat.Error, now time.Time) requeueError {
	requeue := requeueError{reason: err.Error()}
	switch err.Class {
	case wechat.ClassRate:
		requeue.delay = batch.NextMinute(now).Sub(now)
	case wechat.ClassQuota:
		requeue.delay = delayQuota
	case wechat.ClassApp:
		requeue.delay = delayApp
	default:
		requeue.failure = true
	}
	return requeue
}

// requeueAfterPause returns how a task is requeued whose app is paused.
func requeueAfterPause(b *batch.Block, now time.Time) requeueError {
	delay := min(max(0, b.Until.Sub(now))+delayPaused, maxPaused)
	return requeueError{reason: b.Err.Message, delay: delay}
}

// merge adds one more open cloudID to e. The soonest next attempt wins, and its reason is
// shown. The task counts as failed if any cloudID counts as a failure.
func (e *requeueError) merge(other requeueError) {
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

func (e *requeueError) wait(retried int) time.Duration {
	if e.delay > 0 {
		return e.delay
	}
	return backoff[min(retried, len(backoff)-1)]
}

// requeueForShare returns how a task is requeued that has waited beyond its app's share of the
// slots and yields its slot to a task of another app.
func requeueForShare() requeueError {
	return requeueError{
		reason: "its app has its share of the slots", delay: delayShare + rand.N(delayShare),
	}
}

// requeueForNewer requeues a task until a newer worker reads it, as during an upgrade. This worker
// cannot read the task, so it does not know the lifetimes of its cloudIDs either.
func requeueForNewer(err error) error {
	return &requeueError{reason: err.Error(), delay: delayNewer + rand.N(delayNewer)}
}

// retryDelay is asynq's RetryDelayFunc. asynq truncates the retry time to whole seconds, so a
// random part of a second is added to spread tasks that failed together.
func retryDelay(retried int, err error, _ *asynq.Task) time.Duration {
	requeue, ok := errors.AsType[*requeueError](err)
	snooze, isSnooze := errors.AsType[*attempt.SnoozeError](err)
	switch {
	case ok:
		return requeue.capped(requeue.wait(retried)+rand.N(time.Second), time.Now())
	case isSnooze:
		return snooze.Delay
	case errors.Is(err, asynq.ErrLeaseExpired):
		return 0 // its worker is dead, and its cloudIDs have waited long enough
	default:
		return backoff[min(retried, len(backoff)-1)]
	}
}

// capped shortens d so that the next attempt comes right after the lifetime of the first open
// cloudID has ended, and can finish it as expired.
func (e *requeueError) capped(d time.Duration, now time.Time) time.Duration {
	if e.latest.IsZero() {
		return d
	}
	// One second is added because asynq truncates the time to a whole second.
	return max(0, min(d, e.latest.Sub(now)+time.Second))
}
