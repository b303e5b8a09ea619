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

	"cloudidq/internal/embedded"
	"cloudidq/internal/secret"
	"cloudidq/internal/wechat"
	"cloudidq/internal/wechat/wechattest"
	"cloudidq/store"
	"cloudidq/tasks"
	"cloudidq/worker"
)

// stage is all that a demo runs on: Redis, WeChat, a worker.
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
	backfills  *store.Backfills
	worker     *worker.Worker
	hooks      []worker.Webhook
}

// open makes the parts; hooks are the endpoints that results go to. The caller closes the stage.
func open(ctx context.Context, cfg Config, hooks ...worker.Webhook) (*stage, error) {
	s := &stage{cfg: cfg, hooks: hooks, metrics: prometheus.NewRegistry()}
	err := s.open(ctx)
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

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
	s.backfills = store.NewBackfills(s.rdb, time.Hour)
	stores := store.NewMetrics(s.metrics)
	s.worker, err = worker.New(s.workerConfig(), worker.Parts{
		Queue: s.rdb, Results: store.Observed(s.results, stores, nil), Deliveries: store.ObserveDeliveries(s.deliveries, stores, nil),
		WeChat: s.client, Pauses: store.NewPauses(s.rdb), Activity: store.NewActivity(s.rdb), Log: s.cfg.Log, Metrics: s.metrics,
		Backfills: s.backfills,
	})
	return err
}

// redisOptions are those of a client of the embedded Redis. It shares the processors with all else of the demo: on a busy
// machine an answer may take longer than go-redis's three seconds.
func (s *stage) redisOptions() *redis.Options {
	return &redis.Options{
		Addr: s.mini.Addr(), MaxRetries: -1, PoolSize: 128, DisableIdentity: true,
		ReadTimeout: time.Minute, WriteTimeout: time.Minute, PoolTimeout: time.Minute,
	}
}

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

// endpoint names where the results go; empty = nowhere.
func (s *stage) endpoint() string {
	if len(s.hooks) == 0 {
		return ""
	}
	return s.hooks[0].Name
}

// run lets everything run beside play, and returns when all has ended.
func (s *stage) run(ctx context.Context, play func(context.Context) error) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	services, stopServices := context.WithCancel(context.WithoutCancel(ctx)) // the worker needs them until its end
	defer stopServices()
	var below, g errgroup.Group
	below.Go(func() error { return s.sim.Serve(services, s.listener) })
	below.Go(func() error { s.mini.Run(services); return nil })
	g.Go(func() error { return s.worker.Run(ctx) })
	err := play(ctx)
	stop()
	err = errors.Join(err, g.Wait())
	stopServices()
	return errors.Join(err, below.Wait())
}

// close closes what has been opened, in the reverse order.
func (s *stage) close() {
	if s.client != nil {
		s.client.Close()
	}
	if s.rdb != nil {
		_ = s.rdb.Close()
	}
	if s.listener != nil {
		_ = s.listener.Close() // the simulator has, if it has run
	}
	if s.mini != nil {
		s.mini.Close()
	}
}
