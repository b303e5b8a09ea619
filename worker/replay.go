package worker

import (
	"context"
	"errors"
	"fmt"

	"github.com/hibiken/asynq"

	"cloudidq/store"
	"cloudidq/tasks"
)

// Replayer lets deliveries begin anew, on an operator's wish.
type Replayer struct {
	deliveries *store.Deliveries
	client     *asynq.Client
	inspector  *asynq.Inspector
}

// NewReplayer returns a replayer over the same Redis as the queue. Both parts stay the caller's.
func NewReplayer(d *store.Deliveries, client *asynq.Client, inspector *asynq.Inspector) *Replayer {
	return &Replayer{deliveries: d, client: client, inspector: inspector}
}

// Replay puts a delivery into the queue again, with the whole schedule before it. The error is [store.ErrNoDelivery] or
// [store.ErrDelivered] for one that cannot be.
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
	// A task that waits or is archived is run at once. One that is pending or active is about to be.
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

// ReplayEndpoint enables an endpoint and replays what it has missed: its deliveries that are held or exhausted. It returns
// how many.
func (r *Replayer) ReplayEndpoint(ctx context.Context, name string) (int, error) {
	if err := r.deliveries.Enable(ctx, name); err != nil {
		return 0, err
	}
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
		case errors.Is(err, store.ErrNoDelivery), errors.Is(err, store.ErrDelivered):
		case err != nil:
			return replayed, err
		default:
			replayed++
		}
	}
	return replayed, nil
}
