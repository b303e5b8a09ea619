package deliver

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/hibiken/asynq"

	"cloudidq/tasks"
)

const (
	// checkEvery is how often each worker checks the wait lists of its endpoints. If nothing
	// waits, a check costs one Redis command per endpoint.
	checkEvery = time.Second
	// unparkHeld is how many deliveries of a disabled endpoint one check unparks, to be held.
	unparkHeld = 100
)

// waitLists are the wait lists of the endpoints. A delivery is parked there if the circuit of its
// endpoint is open, if all slots of the endpoint are taken, or if the worker does not know the
// endpoint. A parked delivery has no task, so waiting costs nothing, for any number of
// deliveries and any length of time.
//
// An attempt that the endpoint answered unparks up to two deliveries: one for its own slot, and
// one more if another slot is free. So an endpoint that recovers gets one delivery, then two, then
// four. run starts such a chain. It also restarts a broken one, for example after a worker died.
type waitLists struct {
	store     Store
	queue     *asynq.Client
	endpoints map[string]*endpoint
	log       *slog.Logger
}

// park parks a delivery on the wait list of an endpoint. This worker may not know the endpoint.
func (l *waitLists) park(ctx context.Context, name, id string) error {
	if e := l.endpoints[name]; e != nil {
		defer e.parked.Store(true)
	}
	return l.store.Park(ctx, name, id)
}

// answered unparks the next deliveries after an attempt that the endpoint answered. Call it
// once the slot of that attempt is free.
func (l *waitLists) answered(ctx context.Context, e *endpoint) {
	if e.parked.Load() {
		l.unpark(ctx, e, min(2, e.free()))
	}
}

// unpark unparks up to n deliveries of an endpoint, and makes their tasks.
func (l *waitLists) unpark(ctx context.Context, e *endpoint, n int) {
	ids, err := l.store.Unpark(ctx, e.Name, n)
	if err != nil {
		l.trouble(err)
		return
	}
	for _, id := range ids {
		l.enqueue(ctx, e, id)
	}
}

// enqueue makes the task of a delivery. If the task exists already, enqueue parks the delivery
// again, for a later turn. That task either has just parked the delivery and is about to
// finish, or it waits for its next attempt.
func (l *waitLists) enqueue(ctx context.Context, e *endpoint, id string) {
	task, err := tasks.NewDeliverTask(id)
	if err == nil {
		_, err = l.queue.EnqueueContext(ctx, task)
	}
	if errors.Is(err, asynq.ErrTaskIDConflict) {
		err = l.park(ctx, e.Name, id)
	}
	if err != nil {
		l.trouble(err)
	}
}

// run checks the wait lists until ctx ends.
func (l *waitLists) run(ctx context.Context) {
	tick := time.NewTicker(checkEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			for _, e := range l.endpoints {
				l.check(ctx, e)
			}
		case <-ctx.Done():
			return
		}
	}
}

// check checks the wait list of one endpoint, and unparks one delivery to start a chain.
func (l *waitLists) check(ctx context.Context, e *endpoint) {
	waiting, err := l.store.Parked(ctx, e.Name)
	if err != nil {
		l.trouble(err)
		return
	}
	if e.parked.Store(waiting > 0); waiting == 0 {
		return
	}
	state, err := l.store.Endpoint(ctx, e.Name)
	switch {
	case err != nil:
		l.trouble(err)
	case !state.Disabled.IsZero(): // the tasks hold the deliveries
		l.unpark(ctx, e, unparkHeld)
	case state.OpenUntil.After(time.Now()): // the circuit is open
	default:
		l.unpark(ctx, e, min(1, e.free()))
	}
}

func (l *waitLists) trouble(err error) {
	if err != nil && !errors.Is(err, context.Canceled) {
		l.log.Error("unparking deliveries failed; it is attempted again", "error", err)
	}
}
