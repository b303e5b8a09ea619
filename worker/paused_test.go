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
	u.t.Error("the store was called")
	return nil, errors.New("called")
}

// answered returns a place beyond its app's share that has received its answer.
func answered(works bool) *place {
	s := newShares(true, map[string]int{tasks.QueueEvents: 1})
	s.enter(tasks.QueueEvents, testApp)
	p := s.enter(tasks.QueueEvents, testApp)
	p.admitted <- works
	return p
}

// A task of a paused app, or of one beyond its share, is requeued without a call of the store,
// unless a cloudID must be finished.
func TestAwaitSlot_PausedOrFull_RequeuedUnchanged(t *testing.T) {
	b := newResolverFixture(t, &batchtest.WeChat{})
	b.resolver.results = untouchable{t: t}
	p := payloadOf(3, time.Now())
	b.batcher.SetBlock(testApp, batch.NewBlock(wechat.ClassQuota, 45009, time.Now().Add(90*time.Second)), false)
	again, ok := errors.AsType[*requeueError](newResolution(b.resolver, "task-1", p).awaitSlot(t.Context(), &place{}))
	if !ok || again.open != 3 || again.failure || again.delay != maxPaused || again.latest.IsZero() {
		t.Errorf("awaitSlot() of a paused app = %+v", again)
	}
	b.batcher.SetBlock(testApp, nil, false)
	if again, ok = errors.AsType[*requeueError](newResolution(b.resolver, "task-1", p).awaitSlot(t.Context(), answered(false))); !ok || again.failure {
		t.Errorf("awaitSlot() of an app over its share = %+v", again)
	}
	if err := newResolution(b.resolver, "task-1", p).awaitSlot(t.Context(), &place{}); err != nil {
		t.Errorf("awaitSlot() = %v, want nil", err)
	}
	old := payloadOf(1, time.Now().Add(-time.Hour))
	full := newShares(true, map[string]int{tasks.QueueEvents: 1})
	full.enter(tasks.QueueEvents, testApp)
	if err := newResolution(b.resolver, "task-1", old).awaitSlot(t.Context(), full.enter(tasks.QueueEvents, testApp)); err != nil {
		t.Errorf("awaitSlot() of an overdue cloudID = %v, want nil: it must be finished", err)
	}
}

// refusing is a store that refuses claims.
type refusing struct{ store.Results }

func (refusing) Claim(context.Context, store.Claim) ([]store.ClaimResult, error) {
	return nil, errors.New("READONLY")
}

// A task that goes back because the store refuses to date it has not yielded. At the head of
// the queue it would return at once and meet the same refusal.
func TestAwaitSlot_StoreFails_DoesNotYield(t *testing.T) {
	b := newResolverFixture(t, &batchtest.WeChat{})
	undated := acceptedAt(time.Time{})
	p := answered(false)
	if err := newResolution(b.resolver, "task-1", undated).awaitSlot(t.Context(), p); err == nil || len(p.room.yielded) != 1 {
		t.Fatalf("awaitSlot() = %v, %d have yielded, want this one", err, len(p.room.yielded))
	}
	b.resolver.results = refusing{}
	p = answered(false)
	again, ok := errors.AsType[*requeueError](newResolution(b.resolver, "task-1", undated).awaitSlot(t.Context(), p))
	if !ok || !again.failure || len(p.room.yielded) != 0 {
		t.Errorf("awaitSlot() = %+v, %d have yielded, want a failed attempt and none", again, len(p.room.yielded))
	}
}

// A cloudID that was answered by a pause is requeued until right after the pause, without the
// delay of a new refusal.
func TestAgainFor_AnswerOfAPause(t *testing.T) {
	now := time.Now()
	b := batch.New(&batchtest.WeChat{}, []App{{AppID: "wx1", MaxInFlight: 1, BatchMax: 1}}, batch.Options{})
	defer b.Close()
	r := &resolution{h: &resolver{batcher: b}, given: given{payload: tasks.ResolvePayload{AppID: "wx1"}}}
	answer := batch.NewBlock(wechat.ClassApp, 41001, now).Err
	if again := r.requeueFor(answer, now); again.delay != delayPaused || again.failure {
		t.Errorf("after the pause: %+v, want back in %s, not counted", again, delayPaused)
	}
	b.SetBlock("wx1", batch.NewBlock(wechat.ClassApp, 41001, now.Add(5*time.Second)), false)
	if again := r.requeueFor(answer, now); again.delay != 5*time.Second+delayPaused {
		t.Errorf("in the pause: %+v, want back after its end", again)
	}
	if again := r.requeueFor(&wechat.Error{Class: wechat.ClassRetry, Code: -1}, now); again.delay != 0 || !again.failure {
		t.Errorf("busy in the pause: %+v, want the usual back-off", again)
	}
}
