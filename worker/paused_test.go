package worker

import (
	"context"
	"errors"
	"testing"
	"time"

	"cloudidq/internal/batch"
	"cloudidq/internal/batch/batchtest"
	"cloudidq/internal/wechat"
	"cloudidq/store"
	"cloudidq/tasks"
)

// untouchable is a store that fails the test on any claim.
type untouchable struct {
	store.Results
	t *testing.T
}

func (u untouchable) Claim(context.Context, store.Claim) ([]store.ClaimResult, error) {
	u.t.Error("the store was asked")
	return nil, errors.New("asked")
}

// told returns a place beyond its app's share that has received its answer.
func told(works bool) *place {
	s := newShares(true, map[string]int{tasks.QueueEvents: 1})
	s.enter(tasks.QueueEvents, testApp)
	p := s.enter(tasks.QueueEvents, testApp)
	p.told <- works
	return p
}

// A task of a paused app, or of one beyond its share, is requeued without a call of the store,
// unless a cloudID must be finished.
func TestMayTry_PausedOrFull_PutBackUntouched(t *testing.T) {
	b := newResolverBed(t, &batchtest.WeChat{})
	b.resolver.results = untouchable{t: t}
	p := payloadOf(3, time.Now())
	b.batcher.SetBlock(testApp, batch.NewBlock(wechat.ClassQuota, 45009, time.Now().Add(90*time.Second)), false)
	again, ok := errors.AsType[*againError](newResolution(b.resolver, "task-1", p).mayTry(t.Context(), &place{}))
	if !ok || again.open != 3 || again.failure || again.delay != maxPaused || again.latest.IsZero() {
		t.Errorf("mayTry() of a paused app = %+v", again)
	}
	b.batcher.SetBlock(testApp, nil, false)
	if again, ok = errors.AsType[*againError](newResolution(b.resolver, "task-1", p).mayTry(t.Context(), told(false))); !ok || again.failure {
		t.Errorf("mayTry() of an app over its share = %+v", again)
	}
	if err := newResolution(b.resolver, "task-1", p).mayTry(t.Context(), &place{}); err != nil {
		t.Errorf("mayTry() = %v, want nil", err)
	}
	old := payloadOf(1, time.Now().Add(-time.Hour))
	full := newShares(true, map[string]int{tasks.QueueEvents: 1})
	full.enter(tasks.QueueEvents, testApp)
	if err := newResolution(b.resolver, "task-1", old).mayTry(t.Context(), full.enter(tasks.QueueEvents, testApp)); err != nil {
		t.Errorf("mayTry() of what has outlived = %v, want nil: it is to be ended", err)
	}
}

// refusing is a store that refuses claims.
type refusing struct{ store.Results }

func (refusing) Claim(context.Context, store.Claim) ([]store.ClaimResult, error) {
	return nil, errors.New("READONLY")
}

// A task that goes back because the store refuses to date it has not made way. At the head of
// the queue it would return at once and meet the same refusal.
func TestMayTry_StoreRefuses_DoesNotMakeWay(t *testing.T) {
	b := newResolverBed(t, &batchtest.WeChat{})
	undated := acceptedAt(time.Time{})
	p := told(false)
	if err := newResolution(b.resolver, "task-1", undated).mayTry(t.Context(), p); err == nil || len(p.room.back) != 1 {
		t.Fatalf("mayTry() = %v, %d have made way, want this one", err, len(p.room.back))
	}
	b.resolver.results = refusing{}
	p = told(false)
	again, ok := errors.AsType[*againError](newResolution(b.resolver, "task-1", undated).mayTry(t.Context(), p))
	if !ok || !again.failure || len(p.room.back) != 0 {
		t.Errorf("mayTry() = %+v, %d have made way, want a failed try, and none", again, len(p.room.back))
	}
}

// A cloudID that was answered by a pause is requeued until right after the pause, without the
// delay of a new refusal.
func TestAgainFor_AnswerOfAPause(t *testing.T) {
	now := time.Now()
	b := batch.New(&batchtest.WeChat{}, []App{{AppID: "wx1", MaxInFlight: 1, BatchMax: 1}}, batch.Options{})
	defer b.Close()
	r := &resolution{h: &resolver{batcher: b}, payload: tasks.ResolvePayload{AppID: "wx1"}}
	answer := batch.NewBlock(wechat.ClassApp, 41001, now).Err
	if again := r.againFor(answer, now); again.delay != delayPaused || again.failure {
		t.Errorf("after the pause: %+v, want back in %s, not counted", again, delayPaused)
	}
	b.SetBlock("wx1", batch.NewBlock(wechat.ClassApp, 41001, now.Add(5*time.Second)), false)
	if again := r.againFor(answer, now); again.delay != 5*time.Second+delayPaused {
		t.Errorf("in the pause: %+v, want back after its end", again)
	}
	if again := r.againFor(&wechat.Error{Class: wechat.ClassRetry, Code: -1}, now); again.delay != 0 || !again.failure {
		t.Errorf("busy in the pause: %+v, want the usual back-off", again)
	}
}
