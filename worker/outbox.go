package worker

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/hibiken/asynq"

	"cloudidq/store"
	"cloudidq/tasks"
)

const (
	// deliverLinger is how long a result waits for others of its delivery.
	deliverLinger = 50 * time.Millisecond
	// sweepEvery is how often every worker looks for what a dead one has left behind.
	sweepEvery = 5 * time.Second
	// sweepGrace is how long a delivery may be due before that makes a task for it: there almost always is one.
	sweepGrace = 5 * time.Second
	// sweepAgain is when it does so again.
	sweepAgain = time.Minute
	sweepMax   = 200 // deliveries of an app at a time
	// sweepAll is how many sweeps there are from one that looks at every app to the next: an hour's.
	sweepAll = int(time.Hour / sweepEvery)
	flushFor = 2 * time.Second
)

// outbox makes deliveries of the results that Save has left in the store, and a task of each delivery. Whatever of this a
// crash cuts off, some worker's sweep goes on with: the results lie in the outbox, and a delivery has its id, before
// anything is sent.
type outbox struct {
	deliveries deliveries
	queue      *asynq.Client
	endpoints  map[string]*endpoint
	log        *slog.Logger
	handOver   func(context.Context, store.Handed) error // see Parts

	wake    chan struct{}
	mu      sync.Mutex
	waiting map[outlet]*gathering // guarded by mu
}

type outlet struct{ appID, endpoint string }

// gathering is what this process has saved for an outlet since the last delivery.
type gathering struct {
	n     int
	until time.Time
}

func newOutbox(d deliveries, queue *asynq.Client, endpoints map[string]*endpoint, log *slog.Logger) *outbox {
	return &outbox{
		deliveries: d, queue: queue, endpoints: endpoints, log: log,
		wake: make(chan struct{}, 1), waiting: make(map[outlet]*gathering),
	}
}

// saved says that n results have been saved for an endpoint.
func (o *outbox) saved(appID, name string, n int) {
	if o.handOver == nil {
		o.notify(appID, name, n)
	}
}

// notify says that n results wait for an endpoint.
func (o *outbox) notify(appID, name string, n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	key := outlet{appID, name}
	g := o.waiting[key]
	first := g == nil
	if first {
		g = &gathering{until: time.Now().Add(deliverLinger)}
		o.waiting[key] = g
	}
	g.n += n
	if full := g.n >= o.batchMax(name); first || full {
		if full {
			g.until = time.Time{}
		}
		select {
		case o.wake <- struct{}{}:
		default:
		}
	}
}

// defaultBatch is for an endpoint that this worker does not know.
const defaultBatch = 100

func (o *outbox) batchMax(name string) int {
	if e := o.endpoints[name]; e != nil {
		return e.BatchMax
	}
	return defaultBatch
}

// run makes deliveries until ctx ends, and of what has been saved by then. Beside it, it sweeps: what a sweep finds to do
// does not keep what is saved now.
func (o *outbox) run(ctx context.Context) {
	var sweeping sync.WaitGroup
	defer sweeping.Wait()
	sweeping.Go(func() { o.sweeps(ctx) })
	next := time.NewTimer(0)
	defer next.Stop()
	for {
		select {
		case <-o.wake:
		case <-next.C:
		case <-ctx.Done():
			o.flush()
			return
		}
		next.Reset(o.cutDue(ctx, time.Now()))
	}
}

// flush makes deliveries of all that waits, so that a stop does not leave it to the sweep of another worker.
func (o *outbox) flush() {
	ctx, cancel := context.WithTimeout(context.Background(), flushFor)
	defer cancel()
	if o.handOver != nil {
		if err := o.handOver(ctx, o.notify); err != nil {
			o.trouble(err)
		}
	}
	o.cutDue(ctx, time.Now().Add(deliverLinger))
}

// cutDue makes deliveries for the outlets whose time has come, and returns when the next one's comes.
func (o *outbox) cutDue(ctx context.Context, now time.Time) time.Duration {
	due, wait := o.takeDue(now)
	for _, key := range due {
		o.cut(ctx, key)
	}
	return wait
}

func (o *outbox) takeDue(now time.Time) (due []outlet, wait time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	wait = sweepEvery
	for key, g := range o.waiting {
		if left := g.until.Sub(now); left > 0 {
			wait = min(wait, left)
			continue
		}
		due = append(due, key)
		delete(o.waiting, key)
	}
	return due, wait
}

// cut makes deliveries until nothing waits for the outlet. What fails is left to the sweep.
func (o *outbox) cut(ctx context.Context, key outlet) {
	for left := 1; left > 0; {
		var id string
		var err error
		if id, left, err = o.deliveries.Cut(ctx, key.appID, key.endpoint, o.batchMax(key.endpoint)); err != nil {
			o.trouble(err)
			return
		}
		if id != "" {
			o.enqueue(ctx, id)
		}
	}
}

// enqueue makes the task of a delivery, unless there is one.
func (o *outbox) enqueue(ctx context.Context, id string) {
	task, err := tasks.NewDeliverTask(id)
	if err == nil {
		_, err = o.queue.EnqueueContext(ctx, task)
	}
	if err != nil && !errors.Is(err, asynq.ErrTaskIDConflict) {
		o.trouble(err)
	}
}

func (o *outbox) trouble(err error) {
	if !errors.Is(err, context.Canceled) {
		o.log.Error("what waits for delivery cannot be brought on its way; it is tried again", "error", err)
	}
}

// sweeps sweeps until ctx ends. It looks at every app at first, and now and then, for what an older version may have left.
func (o *outbox) sweeps(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for n := 0; ; n++ {
		o.sweep(ctx, n%sweepAll == 0)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// sweep goes on with what others have left: results without a delivery, and deliveries without a task.
func (o *outbox) sweep(ctx context.Context, all bool) {
	by := time.Now().Add(-sweepGrace)
	unfinished, err := o.deliveries.Unfinished(ctx, by, all)
	for i := range unfinished {
		if err == nil {
			err = o.sweepApp(ctx, &unfinished[i], by)
		}
	}
	if err != nil {
		o.trouble(err)
	}
}

func (o *outbox) sweepApp(ctx context.Context, u *store.Unfinished, by time.Time) error {
	for _, name := range u.Endpoints {
		o.cut(ctx, outlet{u.AppID, name})
	}
	if !u.Due {
		return nil
	}
	ids, err := o.deliveries.Due(ctx, u.AppID, by, sweepAgain, sweepMax)
	for _, id := range ids {
		o.enqueue(ctx, id)
	}
	return err
}
