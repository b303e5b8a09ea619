package app

import (
	"context"
	"errors"
	"log/slog"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"cloudidq/config"
	"cloudidq/internal/httpapi"
	"cloudidq/internal/open"
	"cloudidq/internal/ops"
	"cloudidq/internal/queue"
	"cloudidq/internal/telemetry"
	"cloudidq/internal/wechat"
	"cloudidq/store"
	"cloudidq/tasks"
)

// The parts of a process that stays up.
const (
	partAPI    = "api"
	partWorker = "worker"
)

// process holds what every process that stays up has, whichever parts run in it: one log, one
// registry of metrics, one tracer provider and one ops listener.
type process struct {
	cfg *config.Config
	tel *telemetry.Telemetry
	log *slog.Logger
	ops *ops.Server // nil means that ops.listen is off

	userAgent string // of requests to webhooks
	ready     readiness

	// Metrics that several parts may use. Other metrics are registered by their part.
	wechat *wechat.Metrics
	store  *store.Metrics
}

// runProcess runs the parts of a process. When ctx ends, /readyz reports it first. Then the
// parts stop, and then the ops listener, so that you can watch the shutdown. Logs, metrics and
// traces are flushed last.
func runProcess(
	ctx context.Context, cfg *config.Config, options Options, parts []string, run func(context.Context, *process) error,
) error {
	tel, err := OpenTelemetry(ctx, cfg, options, false)
	if err != nil {
		return err
	}
	defer tel.Shutdown()
	open.LogRedis(tel.Log)
	p := &process{
		cfg: cfg, tel: tel, log: tel.Log, userAgent: open.UserAgent(options.Version),
		ready:  readiness{missing: len(parts), report: options.Ready},
		wechat: wechat.NewMetrics(tel.Registry, wechat.NewAppLabels(open.AppIDs(cfg)...)), store: store.NewMetrics(tel.Registry),
	}
	stopQueues, err := collectQueues(cfg, tel.Registry)
	if err != nil {
		return err
	}
	defer stopQueues()
	if cfg.Ops.Listen == config.OpsOff {
		return run(ctx, p)
	}
	p.ops, err = ops.New(ops.Config{Listen: cfg.Ops.Listen, Parts: parts, Hosts: opsHosts(cfg.Ops.Listen)}, tel.Registry, tel.Log)
	if err != nil {
		return err
	}
	// The ops listener stops after the parts, so it has its own context.
	listening, stopListening := context.WithCancel(context.WithoutCancel(ctx))
	defer stopListening()
	group, ctx := errgroup.WithContext(ctx)
	defer context.AfterFunc(ctx, p.ops.Stopping)()
	group.Go(func() error { return p.ops.Run(listening) })
	group.Go(func() error {
		defer stopListening()
		select {
		case <-p.ops.Ready():
			return run(ctx, p)
		case <-ctx.Done():
			return nil // report a port in use before any part starts
		}
	})
	return group.Wait()
}

// opsHosts returns which Host headers the ops listener accepts. On a loopback address these are
// loopback hosts. On any other address the result is nil, which accepts every host: a scraper
// may use the name of a service, and a probe may use an address.
func opsHosts(listen string) func(host string) bool {
	if httpapi.LoopbackHost(listen) {
		return httpapi.LoopbackHost
	}
	return nil
}

// OpenTelemetry creates the log, the metrics and the traces of a process. once says whether the
// process runs once or stays up. The caller shuts the telemetry down. An invalid variable of the
// environment is a [*open.SettingError].
func OpenTelemetry(ctx context.Context, cfg *config.Config, options Options, once bool) (*telemetry.Telemetry, error) {
	tel, err := telemetry.New(ctx, telemetry.Config{
		Out: options.Log, Level: cfg.Log.Level, Format: cfg.Log.Format, Version: options.Version, Commit: options.Commit,
		Once: once, LookupEnv: options.LookupEnv,
	})
	if err != nil {
		return nil, &open.SettingError{Err: err}
	}
	return tel, nil
}

// collectQueues registers the metrics of the queues. It uses its own Redis client, so that a
// scrape takes no connection from the workers and its commands are not repeated.
func collectQueues(cfg *config.Config, r prometheus.Registerer) (stop func(), err error) {
	rdb, err := cfg.Redis.Open(open.NeverRepeat)
	if errors.Is(err, config.ErrEmbedded) {
		return func() {}, nil // the parts report this error
	}
	if err != nil {
		return nil, err
	}
	queues := queue.NewCollector(rdb)
	if err := r.Register(queues); err != nil {
		queues.Close()
		return nil, err
	}
	return queues.Close, nil
}

// readiness counts the parts that are not up yet.
type readiness struct {
	report func(Addresses) // nil = nothing is reported

	mu      sync.Mutex
	missing int       // guarded by mu
	at      Addresses // guarded by mu
}

// partIsUp counts one more part, and returns the addresses so far and whether all parts are up.
func (r *readiness) partIsUp(p *process, api func() string) (at Addresses, all bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.missing--
	if api != nil {
		r.at.API = api()
	}
	if p.ops != nil {
		r.at.Ops = p.ops.Addr()
	}
	return r.at, r.missing == 0
}

// reportReady marks a part as up after ready is closed. After the last part it calls
// [Options.Ready]. api returns the address of the API; it is nil for another part.
func (p *process) reportReady(
	ctx context.Context, part string, ready <-chan struct{}, api func() string, checks ...ops.Check,
) error {
	select {
	case <-ready:
	case <-ctx.Done():
		return nil
	}
	if p.ops != nil {
		p.ops.Up(part, checks...)
	}
	if at, all := p.ready.partIsUp(p, api); all && p.ready.report != nil {
		p.ready.report(at)
	}
	return nil
}

// checks returns the readiness checks that every part needs.
func checks(d *open.Deps) []ops.Check {
	writable := store.NewWritable(d.Redis, tasks.QueueEvents, tasks.QueueBackfill, tasks.QueueWebhooks)
	all := []ops.Check{{Name: "redis", Ask: reportRefusal(writable.Check)}}
	if p := d.Records.Postgres(); p != nil {
		all = append(all, ops.Check{Name: "store", Ask: reportRefusal(p.Writable)})
	}
	return all
}

// reportRefusal makes /readyz report that a server is up but refuses writes.
func reportRefusal(check func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		err := check(ctx)
		if refused, ok := errors.AsType[*store.RefusedError](err); ok {
			return ops.Fault(refused.Error())
		}
		return err
	}
}

// openDeps opens what a part of the process needs. The caller closes it.
func (p *process) openDeps(ctx context.Context) (*open.Deps, error) {
	return open.All(ctx, p.cfg, open.Shared{
		WeChat: p.wechat, Store: p.store, Tracers: p.tel.Tracers, UserAgent: p.userAgent,
	})
}
