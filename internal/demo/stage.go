package demo

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"cloudidq/internal/activity"
	"cloudidq/internal/backfill"
	"cloudidq/internal/coord"
	"cloudidq/internal/embedded"
	"cloudidq/internal/secret"
	"cloudidq/internal/wechat"
	"cloudidq/internal/wechat/wechattest"
	"cloudidq/store"
	"cloudidq/tasks"
	"cloudidq/worker"
)

// stage is the environment of a demo: Redis, WeChat and a worker.
type stage struct {
	cfg        Config
	mini       *embedded.Redis
	sim        *wechattest.Simulator
	listener   net.Listener // of the simulator
	rdb        *redis.Client
	metrics    *prometheus.Registry
	client     *wechat.Client
	results    *store.Redis
	deliveries *store.Deliveries
	backfills  *backfill.Store
	worker     *worker.Worker
	hooks      []worker.Webhook
}

// open creates the parts. hooks are the endpoints that receive the results. The caller closes
// the stage.
func open(ctx context.Context, cfg Config, hooks ...worker.Webhook) (*stage, error) {
	s := &stage{cfg: cfg, hooks: hooks, metrics: prometheus.NewRegistry()}
	err := s.open(ctx)
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// open creates the parts in the order of their dependencies. On an error, the caller closes s.
func (s *stage) open(ctx context.Context) (err error) {
	if s.mini, err = embedded.Start("127.0.0.1:0"); err != nil {
		return err
	}
	if s.sim, err = wechattest.New(wechattest.Config{
		Seed: s.cfg.Seed, Users: s.cfg.Users, Latency: s.cfg.Latency, Faults: s.cfg.Faults,
	}); err != nil {
		return err
	}
	if s.listener, err = (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0"); err != nil {
		return fmt.Errorf("listening for the simulator: %w", err)
	}
	s.rdb = redis.NewClient(s.redisOptions())
	s.client, err = wechat.New(wechat.Config{
		BaseURL: "http://" + s.listener.Addr().String(), Timeout: 5 * time.Second, MaxConns: maxInFlight,
		Metrics: wechat.NewMetrics(s.metrics, wechat.NewAppLabels(s.cfg.apps()...)),
	})
	if err != nil {
		return err
	}
	s.results, s.deliveries = store.NewRedis(s.rdb, time.Hour), store.NewDeliveries(s.rdb)
	s.backfills = backfill.NewStore(s.rdb, time.Hour, nil)
	stores := store.NewMetrics(s.metrics)
	s.worker, err = worker.New(s.workerConfig(), worker.Parts{
		Queue: s.rdb, Results: store.Observed(s.results, stores, nil), Deliveries: store.ObserveDeliveries(s.deliveries, stores, nil),
		WeChat: s.client, Pauses: coord.NewPauses(s.rdb), Activity: activity.NewRecorder(s.rdb), Log: s.cfg.Log, Metrics: s.metrics,
		Backfills: s.backfills,
	})
	return err
}

// redisOptions returns the options for a client of the embedded Redis. The timeouts are long
// because the embedded Redis shares the processors with the rest of the demo. On a busy machine
// an answer may take longer than go-redis's default of three seconds.
func (s *stage) redisOptions() *redis.Options {
	return &redis.Options{
		Addr: s.mini.Addr(), MaxRetries: -1, PoolSize: 128, DisableIdentity: true,
		ReadTimeout: time.Minute, WriteTimeout: time.Minute, PoolTimeout: time.Minute,
	}
}

// workerConfig returns the configuration of the demo's worker.
func (s *stage) workerConfig() worker.Config {
	cfg := worker.Config{
		Webhooks:    s.hooks,
		Lifetime:    wechattest.DefaultLifetime,
		Shares:      map[string]int{tasks.QueueEvents: 6, tasks.QueueBackfill: 1, tasks.QueueWebhooks: 1},
		Concurrency: 64, Fetchers: 2, ShutdownTimeout: 10 * time.Second,
	}
	for _, id := range s.cfg.apps() {
		app := worker.App{
			AppID: id, Tokens: s.client.StableToken(id, secret.New("demo")),
			BatchMax: 20, BatchLinger: 5 * time.Millisecond, MaxInFlight: maxInFlight,
		}
		app.Webhook = s.endpoint()
		cfg.Apps = append(cfg.Apps, app)
	}
	return cfg
}

// endpoint returns the name of the endpoint for the results, or "" if there is none.
func (s *stage) endpoint() string {
	if len(s.hooks) == 0 {
		return ""
	}
	return s.hooks[0].Name
}

// run runs play with all services in the background, and returns after all of them have stopped.
func (s *stage) run(ctx context.Context, play func(context.Context) error) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	// The worker needs Redis and the simulator until it has stopped.
	services, stopServices := context.WithCancel(context.WithoutCancel(ctx))
	defer stopServices()
	var below, g errgroup.Group
	// below holds the services, and g holds the worker that uses them.
	below.Go(func() error { return s.sim.Serve(services, s.listener) })
	below.Go(func() error { s.mini.Run(services); return nil })
	g.Go(func() error { return s.worker.Run(ctx) })
	err := play(ctx)
	stop()
	err = errors.Join(err, g.Wait())
	stopServices()
	return errors.Join(err, below.Wait())
}

// close closes all open parts in reverse order.
func (s *stage) close() {
	if s.client != nil {
		s.client.Close()
	}
	if s.rdb != nil {
		_ = s.rdb.Close()
	}
	if s.listener != nil {
		_ = s.listener.Close() // an error if the simulator has already closed it
	}
	if s.mini != nil {
		s.mini.Close()
	}
}
