package worker

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"cloudidq/internal/batch"
	"cloudidq/internal/batch/batchtest"
	"cloudidq/internal/queue"
	"cloudidq/store"
	"cloudidq/tasks"
)

// planted is the openid of the user who is erased.
const planted = "oPLANTED"

// mixed returns a payload of n cloudIDs. Every other one, from the first on, is the planted
// user's.
func mixed(name string, n int, accepted time.Time) tasks.ResolvePayload {
	p := tasks.ResolvePayload{AppID: testApp, AcceptedAt: accepted}
	for i := range n {
		it := tasks.Item{CloudID: fmt.Sprintf("73_%s_%d", name, i), OpenID: "oOther", Reference: "other"}
		if i%2 == 0 {
			it.CloudID, it.OpenID = fmt.Sprintf("73_PLANTED_%s_%d", name, i), planted
			it.Reference = "PLANTED"
		}
		p.Items = append(p.Items, it)
	}
	return p
}

// A task that a worker has fetched is not rewritten. If the task is requeued, it loses the user,
// because the handler has found the user erased and reported that to the redactor.
func TestEraser_TaskInFlight_LosesThePersonWhenItComesBack(t *testing.T) {
	b := newFinishFixture(t)
	now := time.Now()
	b.enqueue(t, tasks.QueueEvents, "in-flight", mixed("flight", 5, now))
	batches := batch.New(&batchtest.WeChat{}, []App{app(nil)}, batch.Options{})
	defer batches.Close()
	h := b.resolver
	h.apps, h.batcher = &directory{batcher: batches}, batches
	h.shares, h.redactor = &shares{}, b.Redactor
	payload := func() string { return string(b.task(t, tasks.QueueEvents, "in-flight").Payload) }
	handle := func(ctx context.Context, task *asynq.Task) error {
		if _, err := queue.NewEraser(b.results, b.rdb).Erase(ctx, testApp, planted); err != nil {
			t.Error(err)
		}
		if !strings.Contains(payload(), "PLANTED") {
			t.Error("the task was rewritten while a worker had it")
		}
		// Another task has claimed a cloudID of another user, so that this task is requeued.
		busy := store.Claim{AppID: testApp, TaskID: "another", For: time.Hour, Records: []store.Record{{
			AppID: testApp, OpenID: "oOther", CloudID: "73_flight_1", Status: store.Pending,
			AcceptedAt: store.At(now),
		}}}
		if _, err := b.results.Claim(ctx, busy); err != nil {
			t.Error(err)
		}
		err := h.ProcessTask(ctx, task)
		b.Pass(ctx) // too early: the task is active, and stays scheduled
		return err
	}
	handled := make(chan struct{}, 1)
	srv := asynq.NewServerFromRedisClient(b.rdb, asynq.Config{
		Concurrency: 1, Queues: map[string]int{tasks.QueueEvents: 1}, LogLevel: asynq.FatalLevel,
		TaskCheckInterval: 10 * time.Millisecond,
		RetryDelayFunc:    func(int, error, *asynq.Task) time.Duration { return time.Hour },
	})
	if err := srv.Start(asynq.HandlerFunc(func(ctx context.Context, task *asynq.Task) error {
		defer func() { handled <- struct{}{} }()
		return handle(ctx, task)
	})); err != nil {
		t.Fatal(err)
	}
	<-handled
	srv.Shutdown()
	before := b.task(t, tasks.QueueEvents, "in-flight")
	if before.State != asynq.TaskStateRetry || !strings.Contains(string(before.Payload), "PLANTED") {
		t.Fatalf("task = %+v, want it back with all that it had: nothing is proved", before)
	}
	b.Pass(t.Context())
	was, wasErr := tasks.ParseResolve(before.Payload)
	is, isErr := tasks.ParseResolve([]byte(payload()))
	if wasErr != nil || isErr != nil {
		t.Fatal(wasErr, isErr)
	}
	gone := was.TakeOut(func(it tasks.Item) bool { return it.OpenID == planted })
	if len(gone) != 3 || is.Erased != 3 || fmt.Sprint(is.Items) != fmt.Sprint(was.Items) ||
		!is.AcceptedAt.Equal(was.AcceptedAt) {
		t.Errorf("payload = %+v, want the others of %+v", is, was)
	}
}

// A task that has lost all of its cloudIDs is done. In a backfill, erased cloudIDs
// count as failed.
func TestAttempt_ErasedFromThePayload_CountsAsFailed(t *testing.T) {
	b := newBackfillFixture(t, &batchtest.WeChat{}, 3)
	first := b.p.Items[0].OpenID
	b.p.TakeOut(func(it tasks.Item) bool { return it.OpenID == first })
	if err := b.run(t); err != nil {
		t.Fatal(err)
	}
	b.want(t, 0, 2, 2, 0)
	b.p.TakeOut(func(tasks.Item) bool { return true })
	if err := b.run(t); err != nil {
		t.Errorf("an attempt without cloudIDs = %v, want done", err)
	}
}
