package deliver

import (
	"context"
	"errors"
	"fmt"

	"github.com/hibiken/asynq"

	"cloudidq/store"
	"cloudidq/tasks"
)

// Replayer restarts deliveries at the request of an operator.
type Replayer struct {
	deliveries *store.Deliveries
	client     *asynq.Client
	inspector  *asynq.Inspector
}

// NewReplayer returns a Replayer. d must use the same Redis as the queue. The caller closes
// client and inspector.
func NewReplayer(d *store.Deliveries, client *asynq.Client, inspector *asynq.Inspector) *Replayer {
	return &Replayer{deliveries: d, client: client, inspector: inspector}
}

// Replay enqueues a delivery again, at the start of its schedule. It returns
// [store.ErrNoDelivery] if the delivery does not exist, and [store.ErrDelivered] if it has
// arrived already.
func (r *Replayer) Replay(ctx context.Context, id string) error {
	was, err := r.deliveries.Replay(ctx, id)
	if err != nil {
		return err
	}
	if was == store.DeliveryDelivered {
		return store.ErrDelivered
	}
	task, err := tasks.NewDeliverTask(id)
	if err != nil {
		return err
	}
	_, err = r.client.EnqueueContext(ctx, task)
	if !errors.Is(err, asynq.ErrTaskIDConflict) {
		return err
	}
	// The task exists already. A scheduled, retry or archived task is run at once. A pending or
	// active task needs nothing.
	info, err := r.inspector.GetTaskInfo(tasks.QueueWebhooks, id)
	if err != nil {
		return fmt.Errorf("looking up the task of a delivery: %w", err)
	}
	if info.State == asynq.TaskStatePending || info.State == asynq.TaskStateActive {
		return nil
	}
	if err := r.inspector.RunTask(tasks.QueueWebhooks, id); err != nil {
		return fmt.Errorf("running the task of a delivery: %w", err)
	}
	return nil
}

// ReplayEndpoint enables an endpoint and replays its held and exhausted deliveries. It returns
// how many it replayed, also beside an error.
func (r *Replayer) ReplayEndpoint(ctx context.Context, name string) (int, error) {
	if err := r.deliveries.Enable(ctx, name); err != nil {
		return 0, err
	}
	// The ids are collected first, because Replay changes the lists that List reads.
	var ids []string
	err := r.deliveries.List(ctx, store.Filter{Endpoint: name}, func(d store.Delivery) bool {
		if d.State == store.DeliveryHeld || d.State == store.DeliveryExhausted {
			ids = append(ids, d.ID)
		}
		return true
	})
	if err != nil {
		return 0, err
	}
	replayed := 0
	for _, id := range ids {
		switch err := r.Replay(ctx, id); {
		case errors.Is(err, store.ErrNoDelivery), errors.Is(err, store.ErrDelivered): // changed meanwhile
		case err != nil:
			return replayed, err
		default:
			replayed++
		}
	}
	return replayed, nil
}
