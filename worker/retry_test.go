package worker

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"cloudidq/internal/attempt"
	"cloudidq/internal/wechat"
	"cloudidq/store"
)

// Each class of errors has its final status, or none.
func TestEndStatus_EveryClass(t *testing.T) {
	for class, want := range map[wechat.Class]store.Status{
		wechat.ClassRetry: store.Pending, wechat.ClassToken: store.Pending, wechat.ClassRate: store.Pending,
		wechat.ClassQuota: store.Pending, wechat.ClassApp: store.Pending,
		wechat.ClassBatch: store.Failed, wechat.ClassCall: store.Failed, wechat.ClassItem: store.Failed,
		wechat.ClassBug: store.Failed, wechat.ClassExpired: store.Expired,
	} {
		if got := finalStatus(&wechat.Error{Class: class}); got != want {
			t.Errorf("finalStatus(%s) = %s, want %s", class, got, want)
		}
	}
}

// The delay of a failed attempt grows up to 15 s, plus a random part of a second.
func TestRetryDelay_BacksOff(t *testing.T) {
	err := &requeueError{open: 1, failure: true}
	for retried, want := range []time.Duration{1, 2, 4, 8, 15, 15, 15} {
		want *= time.Second
		if got := retryDelay(retried, err, nil); got < want || got >= want+time.Second {
			t.Errorf("retryDelay(%d) = %s, want %s and a part of a second", retried, got, want)
		}
	}
}

// The next attempt comes no later than the end of the first open cloudID's lifetime.
func TestRetryDelay_ComesBackForTheEndOfLife(t *testing.T) {
	err := &requeueError{open: 1, delay: time.Minute, latest: time.Now().Add(3 * time.Second)}
	if got := retryDelay(0, err, nil); got > 4*time.Second || got < 3*time.Second {
		t.Errorf("retryDelay() = %s, want about 4s: the first open cloudID expires in 3s", got)
	}
	err.latest = time.Now().Add(-time.Minute)
	if got := retryDelay(0, err, nil); got != 0 {
		t.Errorf("retryDelay() past the end = %s, want 0", got)
	}
}

// The task of a dead worker is retried at once.
func TestRetryDelay_DeadWorker_AtOnce(t *testing.T) {
	if got := retryDelay(3, asynq.ErrLeaseExpired, nil); got != 0 {
		t.Errorf("retryDelay() = %s, want 0", got)
	}
}

// A snoozed task is retried after its own delay.
func TestRetryDelay_Snoozed(t *testing.T) {
	err := fmt.Errorf("wrapped: %w", &attempt.SnoozeError{Reason: "no", Delay: 7 * time.Second})
	for retried := range 10 {
		if got := retryDelay(retried, err, nil); got != 7*time.Second {
			t.Errorf("retryDelay(%d) = %s, want 7s", retried, got)
		}
	}
}

// Waiting, a dead worker and a stop do not count as failures. Other errors do.
func TestIsFailure_WaitingIsNot(t *testing.T) {
	for name, tc := range map[string]struct {
		err  error
		want bool
	}{
		"busy":         {&requeueError{failure: true}, true},
		"quota":        {&requeueError{delay: delayQuota}, false},
		"snoozed":      {&attempt.SnoozeError{}, false},
		"refused":      {&attempt.SnoozeError{Failure: true}, true},
		"dead worker":  {asynq.ErrLeaseExpired, false},
		"stop":         {context.Canceled, false},
		"panic":        {errPanic, true},
		"task timeout": {context.DeadlineExceeded, true},
	} {
		if got := attempt.IsFailure(tc.err); got != tc.want {
			t.Errorf("IsFailure(%s) = %t, want %t", name, got, tc.want)
		}
	}
}

// Of several open cloudIDs the soonest next attempt and the earliest end of a lifetime count.
func TestAgain_SoonestWins(t *testing.T) {
	now := time.Now()
	var again requeueError
	for _, class := range []wechat.Class{wechat.ClassQuota, wechat.ClassRetry, wechat.ClassApp} {
		a := requeueFor(&wechat.Error{Class: class, Code: 1}, now)
		a.latest = now.Add(time.Duration(class) * time.Minute)
		again.merge(a)
	}
	if again.open != 3 || !again.failure || again.wait(0) != time.Second {
		t.Errorf("got %+v, want 3 open, a failure, after 1s", again)
	}
	if want := now.Add(time.Duration(wechat.ClassRetry) * time.Minute); !again.latest.Equal(want) {
		t.Errorf("latest = %s, want the earliest end of life", again.latest)
	}
}

// A rate limit is retried in the next minute.
func TestAgainFor_RateWaitsForTheNextMinute(t *testing.T) {
	now := time.Date(2026, 11, 22, 8, 0, 47, 0, time.UTC)
	if got := requeueFor(&wechat.Error{Class: wechat.ClassRate, Code: 45011}, now); got.delay != 13*time.Second {
		t.Errorf("delay = %s, want 13s", got.delay)
	}
}
