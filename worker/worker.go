// Package worker processes cloudid:resolve tasks from asynq and brings every cloudID to a final
// status. [Open] runs it inside another program.
//
// To follow one cloudID through the code, start at [resolver.ProcessTask] in resolve.go. Next
// is internal/batch, which merges the cloudIDs of all tasks in flight into requests, and
// internal/wechat, which makes each request. Then outcome.go turns the answer into a record
// for the store, and retry.go decides what the queue does about each outcome. From there the
// result continues in internal/deliver.
//
// The worker never relies on asynq to finish a cloudID: retries do not run out, and asynq's
// deadlines are not used. A cloudID is finished when it is resolved, when it has failed, or
// when its lifetime is over (expired).
package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/hibiken/asynq"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/sync/errgroup"

	"cloudidq/internal/attempt"
	"cloudidq/internal/batch"
	"cloudidq/internal/deliver"
	"cloudidq/internal/queue"
	"cloudidq/store"
	"cloudidq/tasks"
)

// App holds the worker's settings for one mini program.
type App = batch.App

// Parts are the dependencies of a Worker. The caller closes them after Run has returned.
type Parts struct {
	// Queue is the Redis client of the asynq servers. It must not retry commands by itself (set
	// MaxRetries: -1). If a dequeue whose answer was lost were repeated, the first task would
	// stay behind. New adds no hook to this client: it wraps the client ([queue.Brake]).
	Queue   redis.UniversalClient
	Results store.Results
	WeChat  batch.OpenData
	Pauses  batch.Pauses // paused apps, shared by all processes
	Rates   batch.Rates  // nil if no app has a RatePerMinute
	// Authorizers finds apps that Config.Apps does not list: the apps of merchants that have
	// authorized a third-party platform. nil = only the apps of Config.Apps are served.
	Authorizers authorizers
	// Deliveries is where Results puts the records that are to be delivered. nil = nothing is
	// delivered.
	Deliveries deliver.Store
	// Relay relays to Deliveries the results that Results still holds. nil = Save puts them
	// there itself. If it is set, the code that relays results must call [Worker.Notify].
	Relay func(context.Context, store.Relayed) error
	// Backfills counts the finished cloudIDs of backfills. nil = they are not counted.
	Backfills backfills
	// Open records the cloudIDs that an attempt leaves open, in case their task vanishes from
	// the queue. nil = they are not recorded. If Open is set, a Lookup of Results must finish
	// overdue cloudIDs, as [store.Timely] does.
	Open openTasks
	// Activity receives counts of requests and finished cloudIDs. nil = nothing is counted. The
	// worker's Run calls its Run.
	Activity recorder
	Log      *slog.Logger

	// Metrics is the registry for the worker's metrics. nil = they are not registered. Only one
	// worker of a process can be registered.
	Metrics prometheus.Registerer
	Tracers trace.TracerProvider // nil = nothing is traced
	// Quotas looks up the remaining quotas of the apps. Only the process that holds the lease
	// in Leases does so. nil = quotas are not looked up. Leases must be set if Quotas is.
	Quotas quotas
	Leases leases
}

// Config are the settings of a Worker.
type Config struct {
	Apps     []App
	Webhooks []Webhook
	Lifetime time.Duration // of a cloudID, from obtained_at
	// Shares divides Concurrency among the queues: the key is a queue, the value its relative
	// weight. A weight below 1 counts as 1. No queue can use the slots of another.
	Shares          map[string]int
	Concurrency     int           // tasks in flight at the same time, each of up to 100 cloudIDs
	Fetchers        int           // asynq servers per queue; each fetches one task at a time
	ShutdownTimeout time.Duration // time from the end of Run's context until Run returns
}

// Worker processes tasks in this process. Make one with New and call Run once.
type Worker struct {
	cfg      Config
	rdb      redis.UniversalClient
	batcher  *batch.Batcher
	handler  asynq.Handler
	clock    *tasks.Clock
	redactor *queue.Redactor
	deliver  *deliver.Deliverer // nil = nothing is delivered
	shares   *shares
	log      *slog.Logger
	ready    chan struct{}

	background []func(context.Context) // background loops, started by Run and stopped after the handlers
}

// New returns a worker that has not started. It returns an error if cfg is invalid or does not
// fit parts.
func New(cfg Config, parts Parts) (*Worker, error) {
	if err := cfg.validate(parts); err != nil {
		return nil, err
	}
	parts.Queue = queue.Brake(parts.Queue)
	if parts.Activity == nil {
		parts.Activity = noActivity{}
	}
	m := newMetrics(parts.Metrics, &cfg)
	batching := batch.NewMetrics(parts.Metrics, cfg.appLabels())
	b := batch.New(parts.WeChat, cfg.Apps, batch.Options{
		Rates: parts.Rates, Activity: parts.Activity, Metrics: batching, Traced: parts.Tracers != nil,
	})
	w := &Worker{
		cfg: cfg, rdb: parts.Queue, clock: tasks.NewClock(parts.Queue), batcher: b, log: parts.Log,
		ready: make(chan struct{}),
	}
	w.background = append(w.background,
		queue.NewRescuer(parts.Queue, cfg.queues(), m.rescuedTasks, parts.Log).Run,
		batch.NewPauser(parts.Pauses, b, batching, parts.Log).Run,
		w.clock.Run,
		func(ctx context.Context) { parts.Activity.Run(ctx, parts.Log) },
	)
	// The parts below refer to each other, so the order of the steps matters.
	mux := asynq.NewServeMux()
	// Tasks of all types go through this middleware.
	mux.Use(m.observeAttempts, recoverPanics(parts.Log))
	w.deliverWith(mux, parts)
	w.background = append(w.background, queue.NewAnnouncer(w.rdb, cfg.queues(), w.log).Run)
	w.shareSlots(len(cfg.Apps) > 1 || parts.Authorizers != nil)
	// The handler of cloudid:resolve is also used without a task, to finish cloudIDs (finish.go).
	h := &resolver{
		apps:     &directory{batcher: b, authorizers: parts.Authorizers},
		lifetime: cfg.Lifetime, clock: w.clock, results: parts.Results, batcher: b, shares: w.shares,
		deliver: w.deliver, bulk: newBulk(parts.Backfills), activity: parts.Activity, log: parts.Log,
		metrics: m, tracer: attempt.NewTracer(parts.Tracers), open: parts.Open,
	}
	if parts.Deliveries != nil {
		h.outlets = outletsOf(cfg.Webhooks, func(appID string) string {
			app, _ := b.App(appID)
			return app.Webhook
		})
	}
	// The redactor finishes cloudIDs with the handler, and the handler defers redactions to it.
	w.redactor = queue.NewRedactor(parts.Queue, h, parts.Log)
	h.redactor = w.redactor
	w.background = append(w.background, w.redactor.Run)
	mux.Handle(tasks.TypeResolve, h)
	w.background = append(w.background, newVanished(h, parts).run)
	if parts.Quotas != nil {
		w.background = append(w.background, newQuotaWatch(cfg.Apps, parts.Quotas, parts.Leases, m, parts.Log).run)
	}
	w.handler = mux
	return w, nil
}

// shareSlots sets up the limits on the slots of one app. The limits apply only if the worker
// serves several apps.
func (w *Worker) shareSlots(several bool) {
	w.shares = newShares(several, w.allSlots())
	for _, name := range queue.WithCloudIDs() {
		if several {
			scanner := &ahead{rdb: w.rdb, queue: name, shares: w.shares, log: w.log}
			w.background = append(w.background, scanner.run)
		}
	}
}

// deliverWith sets up the deliveries. Without endpoints this worker still makes them, and a
// worker that knows the endpoint sends them.
func (w *Worker) deliverWith(mux *asynq.ServeMux, parts Parts) {
	if parts.Deliveries == nil {
		return
	}
	w.deliver = deliver.New(deliver.Config{
		Webhooks: w.cfg.Webhooks, Slots: w.slots(tasks.QueueWebhooks),
	}, deliver.Deps{
		Store: parts.Deliveries, Queue: asynq.NewClientFromRedisClient(parts.Queue), Relay: parts.Relay,
		Log: parts.Log, Metrics: parts.Metrics, Tracers: parts.Tracers,
	})
	if len(w.cfg.Webhooks) > 0 {
		mux.Handle(tasks.TypeDeliver, w.deliver)
	}
	w.background = append(w.background, w.deliver.Run)
}

// validate returns all errors of c together, or nil.
func (c *Config) validate(parts Parts) error {
	var faults []error
	positive := func(name string, value int) {
		if value < 1 {
			faults = append(faults, fmt.Errorf("worker: %s is %d, at least 1 is needed", name, value))
		}
	}
	positive("Concurrency", c.Concurrency)
	positive("Fetchers", c.Fetchers)
	if c.Lifetime <= 0 || c.ShutdownTimeout <= 0 {
		faults = append(faults, errors.New("worker: Lifetime and ShutdownTimeout must be positive"))
	}
	for _, app := range c.Apps {
		faults = append(faults, app.Validate())
	}
	if len(c.Webhooks) > 0 && parts.Deliveries == nil {
		faults = append(faults, errors.New("worker: Webhooks need Deliveries"))
	}
	if parts.Quotas != nil && parts.Leases == nil {
		faults = append(faults, errors.New("worker: Quotas need Leases"))
	}
	for _, hook := range c.Webhooks {
		faults = append(faults, validateWebhook(&hook))
	}
	return errors.Join(faults...)
}

// Notify reports that n results of an app were put into Deliveries for an endpoint. It is safe
// to call at any time and from any goroutine.
func (w *Worker) Notify(appID, endpoint string, n int) {
	if w.deliver != nil {
		w.deliver.Notify(appID, endpoint, n)
	}
}

// Ready returns a channel that is closed once Run accepts tasks.
func (w *Worker) Ready() <-chan struct{} { return w.ready }

// stopReserve is the fraction of ShutdownTimeout reserved for the work after the handlers:
// 1/stopReserve.
const stopReserve = 4 // a quarter

// Run processes tasks until ctx ends, then stops within ShutdownTimeout. To stop, it fetches no
// new tasks, lets the tasks in flight finish or returns them to the head of their queue, and
// closes the batcher. Run returns nil after an orderly stop, when all of its goroutines have
// ended. It returns an error if an asynq server does not start.
func (w *Worker) Run(ctx context.Context) error {
	if err := w.clock.Measure(ctx); err != nil {
		w.log.Warn("the clocks are not compared", "error", err)
	}
	servers, err := w.start()
	if err != nil {
		w.batcher.Close() // tasks of the servers that did start may have reached it
		return err
	}
	// The background loops have their own context: they go on until the handlers have returned.
	background, stop := context.WithCancel(context.Background())
	var g errgroup.Group
	for _, run := range w.background {
		g.Go(func() error { run(background); return nil })
	}

	w.log.Info("the worker is up", "apps", len(w.cfg.Apps), "concurrency", w.cfg.Concurrency, "servers", len(servers))
	close(w.ready)
	<-ctx.Done()
	begun := time.Now()
	w.log.Info("the worker stops", "timeout", w.cfg.ShutdownTimeout.String())

	// The order matters: handlers need the batcher, and both need the background loops.
	shutdown(servers, w.shares.stop)
	w.batcher.Close()
	stop()
	err = g.Wait()
	w.log.Info("the worker has stopped", "took", time.Since(begun).Round(time.Millisecond).String())
	return err
}
