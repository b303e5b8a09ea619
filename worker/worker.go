// Package worker takes cloudid:resolve tasks from asynq and brings every cloudID to its end.
//
// A reader who follows one cloudID starts at [resolver.ProcessTask] in resolve.go, goes on to batcher.go, where the
// cloudIDs of all tasks in hand are merged into requests, leaves for internal/wechat, which makes the request, and
// comes back to outcome.go, where the answer becomes a record for the store. retry.go says what the queue does about every
// outcome. From there the result goes on to outbox.go, which makes deliveries, and deliver.go, which tries them; line.go
// has those that cannot be tried yet.
//
// The worker never decides an end by asynq's means: retries do not run out, and asynq's deadlines are not used. A
// cloudID ends resolved, failed, or expired when its lifetime is over.
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

	"cloudidq/internal/wechat"
	"cloudidq/store"
	"cloudidq/tasks"
)

// App is what the worker needs to know of one mini program.
type App struct {
	AppID  string
	Tokens wechat.TokenSource
	// GroupByApp puts cloudIDs of different users into one request, which then carries no openid.
	GroupByApp  bool
	BatchMax    int           // cloudIDs in one request, 1..100
	BatchLinger time.Duration // how long a cloudID waits for others of its batch
	MaxInFlight int           // requests of this app at once, in this process
	// RatePerMinute bounds the requests of all processes together; 0 = no bound of ours.
	RatePerMinute int
	// Webhook names the endpoint of results whose task names none; empty = they are only stored.
	Webhook string
}

// Parts are what a Worker works with. They stay the caller's to close, after Run.
type Parts struct {
	// Queue is the Redis below the asynq servers. It must not repeat commands by itself (MaxRetries: -1), since a
	// dequeue whose answer is lost would be repeated and leave a task behind. It stays as it
	// is: what slows a worker down while Redis is away is the worker's own.
	Queue   redis.UniversalClient
	Results store.Results
	WeChat  openData
	Pauses  pauses // of apps, shared by all processes
	Rates   rates  // nil if no app has a RatePerMinute
	// Authorizers finds apps that Config.Apps does not list: those of the merchants of third-party platforms. nil = none.
	Authorizers authorizers
	// Deliveries is where Results leaves what is to be delivered; nil = nothing is.
	Deliveries deliveries
	// HandOver brings what Results still holds for Deliveries there. nil = Save does so itself; else whoever hands over tells
	// [Worker.Notify].
	HandOver func(context.Context, store.Handed) error
	// Backfills counts the ends of backfills; nil = nobody counts.
	Backfills backfills
	// Open remembers what tries leave open, should their task vanish; nil = nobody does. Results end what is overdue where it
	// is looked up, as [store.Timely] does.
	Open openTasks
	// Activity is told what is done; nil = nobody is. Run runs it.
	Activity activity
	Log      *slog.Logger

	// Metrics is where the worker's are registered; nil = they are not. One worker of a process can be.
	Metrics prometheus.Registerer
	Tracers trace.TracerProvider // nil = nothing is traced
	// Quotas tells what is left of the apps' quotas, to the one process that holds the lease of Leases; nil = nobody asks.
	Quotas quotas
	Leases leases
}

// Config are the settings of a Worker.
type Config struct {
	Apps     []App
	Webhooks []Webhook
	Lifetime time.Duration // of a cloudID, from obtained_at
	// Shares divides Concurrency among the queues, so that none can take another's slots.
	Shares          map[string]int
	Concurrency     int           // tasks in hand at once, of up to 100 cloudIDs each
	Fetchers        int           // asynq servers for each queue; each fetches one task at a time
	ShutdownTimeout time.Duration // from the end of Run's context to Run's return
}

// Worker runs the tasks of this process. Make one with New, run it once.
type Worker struct {
	cfg     Config
	rdb     redis.UniversalClient
	batcher *batcher
	pauser  *pauser
	handler asynq.Handler
	rescuer *rescuer
	clock   *tasks.Clock
	redact  *redactor
	outbox  *outbox // nil = nothing is delivered
	tells   activity
	shares  *shares
	log     *slog.Logger
	ready   chan struct{}

	besides []func(context.Context) // what watches, while the worker runs
}

// New returns a worker that has not started.
func New(cfg Config, parts Parts) (*Worker, error) {
	if err := cfg.validate(parts); err != nil {
		return nil, err
	}
	parts.Queue = braked{parts.Queue}
	if parts.Activity == nil {
		parts.Activity = untold{}
	}
	m := newMetrics(parts.Metrics, &cfg)
	b := newBatcher(parts.WeChat, cfg.Apps)
	b.rates, b.activity = parts.Rates, parts.Activity
	b.count, b.traced = m, parts.Tracers != nil
	traces := newTracing(parts.Tracers)
	w := &Worker{
		cfg: cfg, rdb: parts.Queue, clock: tasks.NewClock(parts.Queue), batcher: b, tells: parts.Activity, log: parts.Log, ready: make(chan struct{}),
		pauser: newPauser(parts.Pauses, b, parts.Log),
		rescuer: &rescuer{
			rdb: parts.Queue, queues: cfg.queues(), log: parts.Log, still: stillFor, lapsed: lapsedFor, metrics: m,
		},
	}
	w.pauser.metrics = m
	w.redact = newRedactor(parts.Queue, parts.Log)
	endpoints := newEndpoints(cfg.Webhooks, w.slots(tasks.QueueWebhooks))
	mux := asynq.NewServeMux()
	mux.Use(m.observeTries, recoverPanics(parts.Log))
	w.deliverWith(mux, parts, endpoints, m, traces)
	w.besides = append(w.besides, (&announcer{w.rdb, cfg.queues(), w.log}).run)
	w.shareSlots(len(cfg.Apps) > 1 || parts.Authorizers != nil)
	w.redact.ends = &resolver{
		apps:     &directory{batcher: b, authorizers: parts.Authorizers},
		lifetime: cfg.Lifetime, clock: w.clock, results: parts.Results, batcher: b, shares: w.shares,
		outbox: w.outbox, redact: w.redact, bulk: newBulk(parts.Backfills), activity: parts.Activity, log: parts.Log,
		metrics: m, traces: traces, open: parts.Open,
	}
	if parts.Deliveries != nil {
		w.redact.ends.outlets = outletsOf(cfg.Webhooks, func(appID string) string { app, _ := b.app(appID); return app.Webhook })
	}
	mux.Handle(tasks.TypeResolve, w.redact.ends)
	w.besides = append(w.besides, newVanished(w.redact.ends, parts).run)
	if parts.Quotas != nil {
		w.besides = append(w.besides, newQuotaWatch(cfg.Apps, parts.Quotas, parts.Leases, m, parts.Log).run)
	}
	w.handler = mux
	return w, nil
}

// shareSlots bounds what one app may have of the slots, if there are several.
func (w *Worker) shareSlots(several bool) {
	w.shares = newShares(several, w.allSlots())
	for _, queue := range resolveQueues {
		if several {
			w.besides = append(w.besides, (&ahead{rdb: w.rdb, queue: queue, shares: w.shares, log: w.log}).run)
		}
	}
}

// deliverWith makes what brings results to endpoints.
func (w *Worker) deliverWith(mux *asynq.ServeMux, parts Parts, endpoints map[string]*endpoint, m *metrics, traces *tracing) {
	queue := asynq.NewClientFromRedisClient(parts.Queue)
	if parts.Deliveries != nil {
		w.outbox = newOutbox(parts.Deliveries, queue, endpoints, parts.Log)
		w.outbox.handOver = parts.HandOver
	}
	if len(endpoints) == 0 {
		return
	}
	line := &lines{deliveries: parts.Deliveries, queue: queue, endpoints: endpoints, log: parts.Log}
	mux.Handle(tasks.TypeDeliver, &deliverer{
		deliveries: parts.Deliveries, endpoints: endpoints, lines: line, log: parts.Log, metrics: m, traces: traces,
	})
	w.besides = append(w.besides, (&endpointWatch{parts.Deliveries, endpoints, m}).run, line.run)
}

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
		faults = append(faults, app.validate())
	}
	if len(c.Webhooks) > 0 && parts.Deliveries == nil {
		faults = append(faults, errors.New("worker: Webhooks need Deliveries"))
	}
	if parts.Quotas != nil && parts.Leases == nil {
		faults = append(faults, errors.New("worker: Quotas need Leases"))
	}
	for _, hook := range c.Webhooks {
		faults = append(faults, hook.validate())
	}
	return errors.Join(faults...)
}

func (a *App) validate() error {
	if problem := tasks.AppIDProblem(a.AppID); problem != "" {
		return fmt.Errorf("worker: the appid of an app %s", problem)
	}
	if a.BatchMax < 1 || a.MaxInFlight < 1 || a.Tokens == nil {
		return fmt.Errorf("worker: app %s: BatchMax and MaxInFlight must be at least 1, and Tokens be set", a.AppID)
	}
	return nil
}

// Notify says that n results have come to Deliveries that wait for an endpoint. It may be called at any time.
func (w *Worker) Notify(appID, endpoint string, n int) {
	if w.outbox != nil {
		w.outbox.notify(appID, endpoint, n)
	}
}

// Ready is closed once Run takes tasks.
func (w *Worker) Ready() <-chan struct{} { return w.ready }

// stopReserve is the part of ShutdownTimeout that is kept for what comes after the handlers.
const stopReserve = 4 // a fourth

// Run works until ctx ends, then stops within ShutdownTimeout: no new task is fetched, tasks in hand finish or go back
// to the head of their queue, the batcher closes. It returns when all of its goroutines have ended, with nil after an
// orderly stop.
func (w *Worker) Run(ctx context.Context) error {
	if err := w.clock.Measure(ctx); err != nil {
		w.log.Warn("the clocks are not compared", "error", err)
	}
	servers, err := w.start()
	if err != nil {
		w.batcher.close() // which tasks may have reached before the server that has failed
		return err
	}
	besides, stop := context.WithCancel(context.Background())
	var g errgroup.Group
	g.Go(func() error { w.rescuer.run(besides); return nil })
	g.Go(func() error { w.pauser.run(besides); return nil })
	g.Go(func() error { w.clock.Run(besides); return nil })
	g.Go(func() error { w.redact.run(besides); return nil })
	g.Go(func() error { w.tells.Run(besides, w.log); return nil })
	if w.outbox != nil {
		g.Go(func() error { w.outbox.run(besides); return nil })
	}
	for _, run := range w.besides {
		g.Go(func() error { run(besides); return nil })
	}

	w.log.Info("the worker is up", "apps", len(w.cfg.Apps), "concurrency", w.cfg.Concurrency, "servers", len(servers))
	close(w.ready)
	<-ctx.Done()
	begun := time.Now()
	w.log.Info("the worker stops", "timeout", w.cfg.ShutdownTimeout.String())

	shutdown(servers, w.shares.stop)
	w.batcher.close()
	stop()
	err = g.Wait()
	w.log.Info("the worker has stopped", "took", time.Since(begun).Round(time.Millisecond).String())
	return err
}
