package deliver

import (
	"context"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"cloudidq/internal/webhook"
	"cloudidq/store"
	"cloudidq/tasks"
)

// sweptSlowly are deliveries in which a sweep runs until its context ends.
type sweptSlowly struct {
	Store
	called chan struct{}
}

func (s sweptSlowly) Unfinished(ctx context.Context, _ time.Time, _ bool) ([]store.Unfinished, error) {
	select {
	case s.called <- struct{}{}:
	default:
	}
	<-ctx.Done()
	return nil, ctx.Err()
}

// A long sweep does not delay deliveries of results that are saved meanwhile.
func TestOutbox_CutsWhileItSweeps(t *testing.T) {
	b := newDeliverEnv(t, webhook.Attempt{})
	slow := sweptSlowly{b.rows, make(chan struct{}, 1)}
	o := newOutbox(slow, asynq.NewClientFromRedisClient(b.rdb), b.d.endpoints, b.d.log)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); o.run(ctx) }()
	<-slow.called
	saveFinished(t, b.results, 10)
	o.saved(testApp, "orders", 10)
	inspector := asynq.NewInspectorFromRedisClient(b.rdb)
	await(t, "the delivery, while the sweep goes on", func() bool {
		pending, err := inspector.ListPendingTasks(tasks.QueueWebhooks)
		return err == nil && len(pending) == 1
	})
	stop()
	<-done
}
