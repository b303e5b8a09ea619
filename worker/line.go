package worker

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/hibiken/asynq"

	"cloudidq/tasks"
)

const (
	// lineEvery is how often every worker looks at the lines of its endpoints, a Redis command each.
	lineEvery = time.Second
	// lineHeld is how many deliveries of a disabled endpoint leave its line then, to be held.
	lineHeld = 100
)

// lines hold what cannot be sent now: the deliveries of an endpoint that is shut, or whose slots are taken. Such a delivery
// has no task, so that waiting costs nothing, however many wait for however long. Each attempt that was answered calls up
// the next: one for its slot, and one more while slots are free, so that an endpoint that comes back gets one delivery,
// then two, then four. run begins such a chain, and mends one that was broken, as by the death of a worker.
type lines struct {
	deliveries deliveries
	queue      *asynq.Client
	endpoints  map[string]*endpoint
	log        *slog.Logger
}

// join puts a delivery into the line of an endpoint, which this worker may not know.
func (l *lines) join(ctx context.Context, name, id string) error {
	if e := l.endpoints[name]; e != nil {
		defer e.lined.Store(true)
	}
	return l.deliveries.LineUp(ctx, name, id)
}

// answered calls up the next after an attempt that was answered, once its slot is free.
func (l *lines) answered(ctx context.Context, e *endpoint) {
	if e.lined.Load() {
		l.callUp(ctx, e, min(2, e.free()))
	}
}

// callUp makes tasks for up to n deliveries that wait for an endpoint.
func (l *lines) callUp(ctx context.Context, e *endpoint, n int) {
	ids, err := l.deliveries.CallUp(ctx, e.Name, n)
	if err != nil {
		l.trouble(err)
		return
	}
	for _, id := range ids {
		l.enqueue(ctx, e, id)
	}
}

// enqueue makes the task of a delivery. If there is one it is about to end, having put the delivery into the line, or it
// waits for its next attempt: the delivery has its turn later.
func (l *lines) enqueue(ctx context.Context, e *endpoint, id string) {
	task, err := tasks.NewDeliverTask(id)
	if err == nil {
		_, err = l.queue.EnqueueContext(ctx, task)
	}
	if errors.Is(err, asynq.ErrTaskIDConflict) {
		err = l.join(ctx, e.Name, id)
	}
	if err != nil {
		l.trouble(err)
	}
}

// run looks after the lines until ctx ends.
func (l *lines) run(ctx context.Context) {
	tick := time.NewTicker(lineEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			for _, e := range l.endpoints {
				l.look(ctx, e)
			}
		case <-ctx.Done():
			return
		}
	}
}

// look calls up one, for a chain to begin with.
func (l *lines) look(ctx context.Context, e *endpoint) {
	waiting, err := l.deliveries.InLine(ctx, e.Name)
	if err != nil {
		l.trouble(err)
		return
	}
	if e.lined.Store(waiting > 0); waiting == 0 {
		return
	}
	state, err := l.deliveries.Endpoint(ctx, e.Name)
	switch {
	case err != nil:
		l.trouble(err)
	case !state.Disabled.IsZero():
		l.callUp(ctx, e, lineHeld)
	case state.Shut.After(time.Now()):
	default:
		l.callUp(ctx, e, min(1, e.free()))
	}
}

func (l *lines) trouble(err error) {
	if err != nil && !errors.Is(err, context.Canceled) {
		l.log.Error("what waits for an endpoint cannot be brought on its way; it is tried again", "error", err)
	}
}
