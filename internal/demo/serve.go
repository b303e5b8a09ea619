package demo

import (
	"context"
	"errors"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"cloudidq/internal/activity"
	"cloudidq/internal/coord"
	"cloudidq/internal/httpapi"
	"cloudidq/internal/monitoring"
	"cloudidq/internal/ops"
	"cloudidq/internal/status"
	"cloudidq/internal/wechat"
	"cloudidq/internal/wechat/wechattest"
	"cloudidq/store"
	"cloudidq/tasks"
	"cloudidq/worker"
)

// apps returns the apps of the worker.
func (c *Config) apps() []string {
	if !c.several {
		return []string{appID}
	}
	var ids []string
	for _, app := range crowd {
		ids = append(ids, app.appID)
	}
	return ids
}

// Addresses says where you can reach a demo that stays up.
type Addresses struct {
	API     string // base URL; the status page is at its root, the queues are at /monitoring/
	Metrics string // URL of the metrics
}

// Serve is Run, but it stays up until ctx ends. It serves the API, the status page and the
// queues, and users keep tapping for an hour. It calls reported with the report when the report
// is complete.
func Serve(ctx context.Context, cfg Config, reported func(Report, Addresses) error) error {
	cfg.several = true
	shop, err := newShop(ctx)
	if err != nil {
		return err
	}
	defer shop.close()
	s, err := open(ctx, cfg, shop.hook)
	if err != nil {
		return err
	}
	defer s.close()
	producer := tasks.NewClient(s.rdb, tasks.Options{})
	defer producer.Close()
	api, err := s.newAPI(producer)
	if err != nil {
		return err
	}
	queues := worker.NewQueueCollector(redis.NewClient(s.redisOptions()))
	defer queues.Close()
	s.metrics.MustRegister(queues)
	metrics, err := ops.New(ops.Config{Listen: "127.0.0.1:0", Hosts: httpapi.LoopbackHost}, s.metrics, cfg.Log)
	if err != nil {
		return err
	}
	return s.run(ctx, func(ctx context.Context) error {
		g, ctx := errgroup.WithContext(ctx)
		g.Go(func() error { return api.Run(ctx) })
		g.Go(func() error { return metrics.Run(ctx) })
		g.Go(func() error { return shop.run(ctx) })
		g.Go(func() error {
			// Wait until the addresses are known and served. Then run the demo, report, and
			// start the crowd.
			for _, ready := range []<-chan struct{}{api.Ready(), metrics.Ready()} {
				select {
				case <-ready:
				case <-ctx.Done():
					return nil
				}
			}
			report, err := s.play(ctx)
			if err == nil {
				err = reported(report, Addresses{API: "http://" + api.Addr(), Metrics: "http://" + metrics.Addr() + "/metrics"})
			}
			if err == nil {
				err = s.load(ctx, producer)
			}
			if ctx.Err() != nil { // the demo has been stopped, so an error is only a consequence
				return nil
			}
			return err
		})
		return g.Wait()
	})
}

// newAPI creates the API without keys. It listens on a free port of the loopback address.
func (s *stage) newAPI(producer *tasks.Client) (*httpapi.Server, error) {
	pages, err := monitoring.New(s.rdb, worker.NewEnder(worker.EnderParts{
		Queue: s.rdb, Results: s.results, Backfills: s.backfills, Webhooks: s.hooks,
		Endpoint: func(context.Context, string) (string, error) { return s.endpoint(), nil },
		Lifetime: wechattest.DefaultLifetime, Log: s.cfg.Log,
	}))
	if err != nil {
		return nil, err
	}
	serves := make(map[string]bool)
	for _, id := range s.cfg.apps() {
		serves[id] = true
	}
	hooks := hooks{worker.NewReplayer(s.deliveries, asynq.NewClientFromRedisClient(s.rdb), asynq.NewInspectorFromRedisClient(s.rdb))}
	return httpapi.New(httpapi.Config{Listen: "127.0.0.1:0"}, httpapi.Parts{
		Producer: producer, Results: worker.NewEraser(s.results, s.rdb), Deliveries: s.deliveries, Backfills: s.backfills,
		Webhooks: hooks, Load: never{},
		Requests: coord.NewRequests(s.rdb), Serves: func(id string) bool { return serves[id] },
		MayName: mayName, Log: s.cfg.Log, Metrics: httpapi.NewMetrics(s.metrics),
		Monitoring: pages, Status: status.New(
			status.Config{
				Apps: s.cfg.apps(), Lifetime: wechattest.DefaultLifetime,
				Webhooks: []status.Webhook{{Name: hookName, Apps: s.cfg.apps()}},
			},
			status.Sources{
				Activity: activity.NewReader(s.rdb), Pauses: coord.NewPauses(s.rdb), Deliveries: s.deliveries,
				Queues: func(ctx context.Context) ([]tasks.Snapshot, error) {
					return tasks.LookAll(ctx, s.rdb, wechattest.DefaultLifetime)
				},
				Explain: func(code int) (text, remedy string) {
					known, _ := wechat.LookupCode(code)
					return known.Text, known.Remedy
				},
			},
		),
	})
}

// mayName accepts only the webhook of the demo.
func mayName(_, webhook string, _ bool) error {
	if webhook != hookName {
		return errors.New("is not the webhook of the demo")
	}
	return nil
}

// hooks implements [httpapi.Webhooks] for a demo, which cannot test an endpoint.
type hooks struct{ *worker.Replayer }

// Test implements [httpapi.Webhooks].
func (hooks) Test(context.Context, string) (store.Attempt, bool) { return store.Attempt{}, false }

// never implements [httpapi.Load] for queues that are never full.
type never struct{}

// High implements [httpapi.Load].
func (never) High(context.Context, string) bool { return false }

// Room implements [httpapi.Load].
func (never) Room(context.Context, string) error { return nil }
