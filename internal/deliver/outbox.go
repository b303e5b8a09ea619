package deliver

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
	// deliverLinger is how long a result waits for others to share its delivery.
	deliverLinger = 50 * time.Millisecond
	// sweepEvery is how often each worker scans for work that a dead worker left behind.
	sweepEvery = 5 * time.Second
	// sweepGrace is how long a delivery must be overdue before the sweep makes a task for it.
	// Almost always a task exists already.
	sweepGrace = 5 * time.Second
	// sweepAgain is how long the sweep then leaves that delivery alone.
	sweepAgain = time.Minute
	sweepMax   = 200 // deliveries of one app in one sweep
	// sweepAll is the number of sweeps in an hour. One of them checks every app.
	sweepAll = int(time.Hour / sweepEvery)
	flushFor = 2 * time.Second // bounds the last run at a stop
)

// outbox turns the results that Save left in the store into deliveries, and makes a task for
// each delivery.
//
// A crash loses nothing. The results are in the outbox, and the delivery has its id, before
// anything is sent. The sweep of any worker continues from there.
type outbox struct {
	store     Store
	queue     *asynq.Client
	endpoints map[string]*endpoint
	log       *slog.Logger
	relay     func(context.Context, store.Relayed) error // see Deps.Relay

	wake    chan struct{}
	mu      sync.Mutex
	waiting map[outlet]*gathering // guarded by mu
}

// outlet is the endpoint that results of one app go to.
type outlet struct{ appID, endpoint string }

// gathering counts the results that this process saved for an outlet since the last delivery.
type gathering struct {
	n     int
	until time.Time // when the next delivery is made
}

func newOutbox(
	s Store, queue *asynq.Client, endpoints map[string]*endpoint, log *slog.Logger,
) *outbox {
	return &outbox{
		store: s, queue: queue, endpoints: endpoints, log: log,
		wake: make(chan struct{}, 1), waiting: make(map[outlet]*gathering),
	}
}

// saved reports that n results were saved for an endpoint. With relay set, the results are
// not in the outbox yet, and the relay calls notify later.
func (o *outbox) saved(appID, name string, n int) {
	if o.relay == nil {
		o.notify(appID, name, n)
	}
}

// notify reports that n results wait in the outbox for an endpoint.
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
	// run has to wake up for a new timer, and at once for a full delivery.
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

// defaultBatch is the BatchMax of an endpoint that this worker does not know.
const defaultBatch = 100

func (o *outbox) batchMax(name string) int {
	if e := o.endpoints[name]; e != nil {
		return e.BatchMax
	}
	return defaultBatch
}

// run makes deliveries until ctx ends, and then from all results saved by that time. The sweeps
// run in a second goroutine, so that their work does not delay new results.
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

// flush makes deliveries from all waiting results, so that a stop does not leave them to the
// sweep of another worker. It takes at most flushFor.
func (o *outbox) flush() {
	ctx, cancel := context.WithTimeout(context.Background(), flushFor)
	defer cancel()
	if o.relay != nil {
		if err := o.relay(ctx, o.notify); err != nil {
			o.trouble(err)
		}
	}
	o.cutDue(ctx, time.Now().Add(deliverLinger))
}

// cutDue makes deliveries for the outlets that are due. It returns the time until the next
// outlet is due, at most sweepEvery.
func (o *outbox) cutDue(ctx context.Context, now time.Time) time.Duration {
	due, wait := o.takeDue(now)
	for _, key := range due {
		o.cut(ctx, key)
	}
	return wait
}

// takeDue removes the due outlets from waiting. wait is the time until the next one is due.
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

// cut makes deliveries until no result waits for the outlet. After an error it stops and leaves
// the rest to the sweep.
func (o *outbox) cut(ctx context.Context, key outlet) {
	for left := 1; left > 0; {
		var id string
		var err error
		id, left, err = o.store.Cut(ctx, key.appID, key.endpoint, o.batchMax(key.endpoint))
		if err != nil {
			o.trouble(err)
			return
		}
		if id != "" {
			o.enqueue(ctx, id)
		}
	}
}

// enqueue makes the task of a delivery, unless the task exists already.
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
		o.log.Error("making deliveries failed; it is attempted again", "error", err)
	}
}

// sweeps sweeps until ctx ends. The first sweep, and then one in sweepAll, checks every app,
// because an older version may have left work in apps that the index does not list.
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

// sweep continues the work of dead workers: results without a delivery, and deliveries without
// a task. all checks every app instead of those in the index.
func (o *outbox) sweep(ctx context.Context, all bool) {
	by := time.Now().Add(-sweepGrace)
	unfinished, err := o.store.Unfinished(ctx, by, all)
	for i := range unfinished {
		if err == nil {
			err = o.sweepApp(ctx, &unfinished[i], by)
		}
	}
	if err != nil {
		o.trouble(err)
	}
}

// sweepApp is the sweep of one app. by is the time since which a delivery must be due.
func (o *outbox) sweepApp(ctx context.Context, u *store.Unfinished, by time.Time) error {
	// Results without a delivery.
	for _, name := range u.Endpoints {
		o.cut(ctx, outlet{u.AppID, name})
	}
	if !u.Due {
		return nil
	}
	// Deliveries without a task.
	ids, err := o.store.Due(ctx, u.AppID, by, sweepAgain, sweepMax)
	for _, id := range ids {
		o.enqueue(ctx, id)
	}
	return err
}
