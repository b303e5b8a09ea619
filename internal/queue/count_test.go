package queue_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"cloudidq/internal/queue"
	"cloudidq/internal/redistest"
	"cloudidq/tasks"
)

// Backlog counts pending, scheduled and retried tasks. The asynq version of go.mod writes the
// keys, so the test fails if asynq changes its key layout.
func TestBacklog(t *testing.T) {
	rdb := redistest.Start(t).Client(t)
	client := asynq.NewClientFromRedisClient(rdb)
	want := func(n int, when string) {
		t.Helper()
		if got, err := queue.Backlog(t.Context(), rdb, tasks.QueueEvents); got != n || err != nil {
			t.Errorf("Backlog = %d, %v %s, want %d", got, err, when, n)
		}
	}
	enqueue := func(opts ...asynq.Option) {
		t.Helper()
		opts = append(opts, asynq.Queue(tasks.QueueEvents))
		if _, err := client.EnqueueContext(t.Context(), asynq.NewTask("x", nil), opts...); err != nil {
			t.Fatal(err)
		}
	}
	want(0, "at first")
	enqueue()
	want(1, "with one pending")
	enqueue(asynq.ProcessIn(time.Hour))
	want(2, "with one scheduled, too")

	server := asynq.NewServerFromRedisClient(rdb, asynq.Config{
		Concurrency: 1, Queues: map[string]int{tasks.QueueEvents: 1}, LogLevel: asynq.FatalLevel,
		RetryDelayFunc: func(int, error, *asynq.Task) time.Duration { return time.Hour },
	})
	failed := make(chan struct{}, 1)
	if err := server.Start(asynq.HandlerFunc(func(context.Context, *asynq.Task) error {
		failed <- struct{}{}
		return errors.New("again")
	})); err != nil {
		t.Fatal(err)
	}
	<-failed
	server.Shutdown()
	want(2, "after the pending one has failed and comes back")
}
