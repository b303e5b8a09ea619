package deliver

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"cloudidq/internal/webhook"
	"cloudidq/store"
	"cloudidq/tasks"
)

// The sweep makes the tasks that a dead worker has not made: for results without a delivery,
// and for deliveries without a task.
func TestOutbox_SweepsResultsOfOtherProcesses(t *testing.T) {
	b := newDeliverEnv(t, webhook.Attempt{})
	o := newOutbox(b.rows, asynq.NewClientFromRedisClient(b.rdb), b.d.endpoints, b.d.log)
	saveFinished(t, b.results, 25)
	inspector := asynq.NewInspectorFromRedisClient(b.rdb)
	o.sweep(t.Context(), false)
	pending, err := inspector.ListPendingTasks(tasks.QueueWebhooks)
	if err != nil || len(pending) != 3 {
		t.Fatalf("%d tasks, %v, want one for each 10 results", len(pending), err)
	}
	lost := pending[0].ID
	if err := inspector.DeleteTask(tasks.QueueWebhooks, lost); err != nil {
		t.Fatal(err)
	}
	o.sweep(t.Context(), false) // the delivery is not overdue yet
	if _, err := inspector.GetTaskInfo(tasks.QueueWebhooks, lost); !errors.Is(err, asynq.ErrTaskNotFound) {
		t.Errorf("GetTaskInfo = %v, want none yet", err)
	}
	if err := b.rows.RecordAttempt(t.Context(), lost, store.DeliveryPending, time.Now().Add(-time.Minute), nil, false); err != nil {
		t.Fatal(err)
	}
	o.sweep(t.Context(), false)
	if _, err := inspector.GetTaskInfo(tasks.QueueWebhooks, lost); err != nil {
		t.Errorf("GetTaskInfo = %v, want the task again", err)
	}
}

// A worker that stops makes deliveries of the results that the store has not relayed yet. With
// such a store, saved alone does nothing.
func TestOutbox_StoreThatRelaysLater_RelaysAtTheStop(t *testing.T) {
	b := newDeliverEnv(t, webhook.Attempt{})
	o := newOutbox(b.rows, asynq.NewClientFromRedisClient(b.rdb), b.d.endpoints, b.d.log)
	o.relay = func(_ context.Context, relayed store.Relayed) error {
		saveFinished(t, b.results, 15)
		relayed(testApp, "orders", 15)
		return nil
	}
	o.saved(testApp, "orders", 15)
	if len(o.waiting) != 0 {
		t.Errorf("%d outlets wait before anything is there", len(o.waiting))
	}
	stopped, stop := context.WithCancel(t.Context())
	stop()
	o.run(stopped)
	pending, err := asynq.NewInspectorFromRedisClient(b.rdb).ListPendingTasks(tasks.QueueWebhooks)
	if err != nil || len(pending) != 2 {
		t.Errorf("%d tasks, %v, want one for each 10 results", len(pending), err)
	}
}
