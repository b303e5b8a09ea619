package worker

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"cloudidq/internal/batch"
	"cloudidq/internal/batch/batchtest"
	"cloudidq/internal/coord"
	"cloudidq/internal/redistest"
	"cloudidq/internal/wechat"
	"cloudidq/store"
	"cloudidq/tasks"
)

// acceptedAt returns a payload of one cloudID that was accepted at this time. The zero time
// means that the payload has no acceptance time.
func acceptedAt(accepted time.Time) tasks.ResolvePayload {
	p := payloadOf(1, accepted)
	p.Items[0].ObtainedAt = time.Time{}
	return p
}

// clockAhead is how far the clock of the accepting machine is ahead.
const clockAhead = 10 * time.Minute

// The lifetime of a cloudID starts when it is first seen. A later attempt does not start it
// again, even if the producer's clock is ten minutes ahead or the payload has no times.
func TestAttempt_LifetimeBeginsOnce(t *testing.T) {
	first := store.At(time.Now().Add(-6 * time.Minute)) // when an earlier attempt of the task saw the cloudID
	for name, p := range map[string]tasks.ResolvePayload{
		"StillAhead": acceptedAt(first.Add(clockAhead)), "AheadNoMore": acceptedAt(first.Add(4 * time.Minute)), "SaysNothing": acceptedAt(time.Time{}),
	} {
		t.Run(name, func(t *testing.T) {
			b := newResolverFixture(t, &batchtest.WeChat{})
			seen := newResolution(b.resolver, "task-1", p).pending()
			seen[0].AcceptedAt = first
			if _, err := b.results.Claim(t.Context(), store.Claim{AppID: testApp, TaskID: "task-1", Records: seen}); err != nil {
				t.Fatal(err)
			}
			_ = b.attempt(t, "task-1", p)
			if n := len(b.wechat.Requests); n != 0 {
				t.Errorf("%d requests for a cloudID that was seen six minutes ago, want none", n)
			}
			if rec := b.lookup(t, p)[0]; rec.Status != store.Expired || !rec.AcceptedAt.Equal(first.Time) {
				t.Errorf("record = %+v, want it expired, accepted when it was seen first", rec)
			}
		})
	}
}

// The time of the first attempt is stored with the record, and later attempts do not change it.
func TestAttempt_FirstSightIsKept(t *testing.T) {
	busy := &wechat.Error{Class: wechat.ClassRetry, Code: -1, Message: "system error"}
	b := newResolverFixture(t, &batchtest.WeChat{Answer: func(wechat.Request) *wechat.Error { return busy }})
	p := acceptedAt(time.Now().Add(clockAhead))
	var latest, accepted time.Time
	for range 3 {
		again, ok := errors.AsType[*requeueError](b.attempt(t, "task-1", p))
		if !ok {
			t.Fatal("the task is done, want it requeued")
		}
		rec := b.lookup(t, p)[0]
		if accepted.IsZero() {
			latest, accepted = again.latest, rec.AcceptedAt.Time
			continue
		}
		if again.latest.After(latest) || !rec.AcceptedAt.Equal(accepted) {
			t.Errorf("accepted at %s, to be sent by %s; want %s and %s, as after the first attempt", rec.AcceptedAt, again.latest, accepted, latest)
		}
	}
	if time.Until(accepted) > 0 {
		t.Errorf("accepted %s from now", time.Until(accepted))
	}
}

// The lifetime of a cloudID runs while its task waits for the end of a pause. The task holds no
// claim during that time.
func TestAttempt_LifetimeRunsInAPause(t *testing.T) {
	b := newResolverFixture(t, &batchtest.WeChat{})
	b.batcher.SetBlock(testApp, batch.NewBlock(wechat.ClassQuota, 45009, time.Now().Add(time.Hour)), false)
	p := acceptedAt(time.Now().Add(clockAhead))
	var latest time.Time
	for range 3 {
		again, ok := errors.AsType[*requeueError](newResolution(b.resolver, "task-1", p).process(t.Context(), &place{}))
		if !ok {
			t.Fatal("the task does not wait")
		}
		if latest.IsZero() {
			latest = again.latest
		}
		if again.latest.After(latest) {
			t.Errorf("to be sent by %s, want by %s, as by the first look", again.latest, latest)
		}
	}
	claims, err := b.results.Claim(t.Context(), store.Claim{
		AppID: testApp, TaskID: "task-2", For: time.Minute, Records: newResolution(b.resolver, "task-2", p).pending(),
	})
	if err != nil || claims[0].State != store.Claimed {
		t.Errorf("another task's claim = %+v, %v, want it granted: a task that waits holds nothing", claims, err)
	}
}

// A worker whose clock is wrong by ten minutes compares the times that others have written with
// Redis's clock.
func TestAttempt_WorkerClockIsNotUsed(t *testing.T) {
	for name, tt := range map[string]struct {
		skew time.Duration // of Redis's and the producer's clocks against the worker's
		age  time.Duration // age of the cloudID
		want store.Status
	}{
		"Behind_Old": {clockAhead, 6 * time.Minute, store.Expired}, "Behind_Young": {clockAhead, time.Minute, store.Resolved},
		"Ahead_Old": {-clockAhead, 6 * time.Minute, store.Expired}, "Ahead_Young": {-clockAhead, time.Minute, store.Resolved},
	} {
		t.Run(name, func(t *testing.T) {
			b := newResolverFixture(t, &batchtest.WeChat{})
			b.clock = tasks.NewClock(skewed{by: tt.skew})
			if err := b.clock.Measure(t.Context()); err != nil {
				t.Fatal(err)
			}
			accepted := time.Now().Add(tt.skew - tt.age)
			p := acceptedAt(accepted)
			_ = b.attempt(t, "task-1", p)
			rec := b.lookup(t, p)[0]
			if rec.Status != tt.want || !rec.AcceptedAt.Equal(store.At(accepted).Time) || rec.FinishedAt.Before(rec.AcceptedAt.Time) {
				t.Errorf("record = %+v, want it %s, with moments of one clock", rec, tt.want)
			}
			if sent := len(b.wechat.Requests) > 0; sent != (tt.want == store.Resolved) {
				t.Errorf("sent = %t for a cloudID %s old", sent, tt.age)
			}
		})
	}
}

// A cloudID is accepted and compared by Redis's clock. So neither the clock of the accepting
// machine nor the time that the task waits for a worker changes its lifetime.
func TestAttempt_ProducerClockIsNotUsed(t *testing.T) {
	for name, tt := range map[string]struct {
		skew   time.Duration // of Redis's clock against the accepting machine's
		waited time.Duration // by Redis's clock
		want   store.Status
	}{
		"Ahead_WaitedTooLong": {-clockAhead, 6 * time.Minute, store.Expired}, "Ahead_WaitedAMinute": {-clockAhead, time.Minute, store.Resolved},
		"Behind_WaitedTooLong": {clockAhead, 6 * time.Minute, store.Expired}, "Behind_WaitedAMinute": {clockAhead, time.Minute, store.Resolved},
	} {
		t.Run(name, func(t *testing.T) {
			p := acceptedBy(t, skewed{redistest.Start(t).Client(t), tt.skew})
			b := newResolverFixture(t, &batchtest.WeChat{})
			b.clock = tasks.NewClock(skewed{by: tt.skew + tt.waited})
			if err := b.clock.Measure(t.Context()); err != nil {
				t.Fatal(err)
			}
			_ = b.attempt(t, "task-1", p)
			if rec := b.lookup(t, p)[0]; rec.Status != tt.want || !rec.AcceptedAt.Equal(p.AcceptedAt) {
				t.Errorf("record = %+v, want it %s, accepted when Redis has taken it", rec, tt.want)
			}
			if sent := len(b.wechat.Requests) > 0; sent != (tt.want == store.Resolved) {
				t.Errorf("sent = %t for a cloudID that has waited %s", sent, tt.waited)
			}
		})
	}
}

// acceptedBy returns the payload that a client writes into this Redis for one cloudID.
func acceptedBy(t *testing.T, rdb redis.UniversalClient) tasks.ResolvePayload {
	t.Helper()
	client := tasks.NewClient(rdb, tasks.Options{CommitLinger: -1})
	defer client.Close()
	if _, err := client.Resolve(t.Context(), tasks.Request{AppID: testApp, Items: []tasks.Item{{CloudID: "73_1"}}}); err != nil {
		t.Fatal(err)
	}
	infos, err := asynq.NewInspectorFromRedisClient(rdb).ListPendingTasks(tasks.QueueEvents)
	if err != nil || len(infos) != 1 {
		t.Fatalf("the queue has %d tasks, %v, want one", len(infos), err)
	}
	p, err := tasks.ParseResolve(infos[0].Payload)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// A worker compares its clock with Redis's before it takes tasks.
func TestRun_KnowsRedisClock(t *testing.T) {
	rdb := redistest.Start(t).Client(t)
	w := leastWorker(t, Parts{Queue: skewed{rdb, clockAhead}, Pauses: coord.NewPauses(rdb)})
	ctx, stop := context.WithCancel(t.Context())
	stopped := make(chan error)
	go func() { stopped <- w.Run(ctx) }()
	<-w.Ready()
	if ahead := w.clock.Ahead(); (ahead - clockAhead).Abs() > time.Minute {
		t.Errorf("the worker takes Redis's clock to be %s ahead, want %s", ahead, clockAhead)
	}
	stop()
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

// skewed is a Redis client that reports a time different from this machine's.
type skewed struct {
	redis.UniversalClient
	by time.Duration
}

// Time implements [redis.Cmdable].
func (s skewed) Time(ctx context.Context) *redis.TimeCmd {
	cmd := redis.NewTimeCmd(ctx)
	cmd.SetVal(time.Now().Add(s.by))
	return cmd
}
