// Package deliver makes deliveries of finished records and attempts them until their endpoint
// has taken them.
//
// A result waits in the outbox of the store (store.Outlet). outbox.go makes deliveries of the
// results of one app and endpoint, and a task for each delivery. attempt.go handles these tasks,
// and decision.go decides what follows from an attempt. message.go makes the bytes of a webhook
// message. waitlist.go parks the deliveries that cannot be attempted now. replay.go restarts
// deliveries for an operator.
package deliver

import (
	"context"
	"log/slog"
	"sync"

	"github.com/hibiken/asynq"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"cloudidq/internal/attempt"
	"cloudidq/store"
)

// Config are the settings of a Deliverer.
type Config struct {
	// Webhooks are the endpoints that this process sends to. Without any, it makes deliveries
	// for other processes to send.
	Webhooks []Webhook
	Slots    int // webhook:deliver tasks in flight at the same time
}

// Deps are the dependencies of a Deliverer. The caller closes them after Run has returned.
type Deps struct {
	Store Store
	Queue *asynq.Client
	// Relay relays results to the outbox of Store, if the store of the records holds them back.
	// It calls its argument with what it has relayed. nil = the store of the records writes to
	// the outbox itself. See store.Postgres.
	Relay   func(context.Context, store.Relayed) error
	Log     *slog.Logger
	Metrics prometheus.Registerer // nil = the metrics are not registered
	Tracers trace.TracerProvider  // nil = nothing is traced
}

// Deliverer makes deliveries, and handles the tasks that attempt them.
type Deliverer struct {
	outbox   *outbox
	attempts *attempter
	lists    *waitLists
	watch    *endpointWatch
}

// New returns a Deliverer that has not started.
func New(cfg Config, deps Deps) *Deliverer {
	endpoints := newEndpoints(cfg.Webhooks, cfg.Slots)
	m := newMetrics(deps.Metrics, cfg.Webhooks)
	lists := &waitLists{store: deps.Store, queue: deps.Queue, endpoints: endpoints, log: deps.Log}
	d := &Deliverer{
		outbox: newOutbox(deps.Store, deps.Queue, endpoints, deps.Log),
		lists:  lists,
		attempts: &attempter{
			store: deps.Store, endpoints: endpoints, lists: lists, log: deps.Log,
			metrics: m, tracer: attempt.NewTracer(deps.Tracers),
		},
		watch: &endpointWatch{deps.Store, endpoints, m},
	}
	d.outbox.relay = deps.Relay
	return d
}

// Run makes deliveries until ctx ends, and then from all results saved by that time. It returns
// when all of its goroutines have ended.
func (d *Deliverer) Run(ctx context.Context) {
	var running sync.WaitGroup
	running.Go(func() { d.outbox.run(ctx) })
	// Without endpoints there is nothing to watch and nothing to unpark.
	if len(d.attempts.endpoints) > 0 {
		running.Go(func() { d.watch.run(ctx) })
		running.Go(func() { d.lists.run(ctx) })
	}
	running.Wait()
}

// Saved reports that this process saved n results of an app for an endpoint. It is safe to call
// at any time and from any goroutine. If Deps.Relay is set, it does nothing: the results are not
// in the outbox yet, and Notify follows.
func (d *Deliverer) Saved(appID, endpoint string, n int) { d.outbox.saved(appID, endpoint, n) }

// Notify reports that n results of an app are in the outbox for an endpoint. It is safe to call
// at any time and from any goroutine.
func (d *Deliverer) Notify(appID, endpoint string, n int) { d.outbox.notify(appID, endpoint, n) }

// ProcessTask makes one attempt at the delivery of a webhook:deliver task. It returns nil if the
// delivery needs no further task. Otherwise its error tells asynq when to retry, or to archive
// the task; see [attempt.SnoozeError] and [attempt.Archive].
func (d *Deliverer) ProcessTask(ctx context.Context, task *asynq.Task) error {
	return d.attempts.ProcessTask(ctx, task)
}
