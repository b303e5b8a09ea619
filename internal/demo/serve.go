package demo

import (
	"context"
	"errors"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

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

// apps are those of the worker.
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

// Addresses are where a demo that stays up can be looked at.
type Addresses struct {
	API     string // the origin; the status page is at its root, the queues at /monitoring/
	Metrics string // the URL
}

// Serve is Run that stays up until ctx ends: API, status page and queues are served, and users go on to tap, for an hour.
// reported is called with the report, as soon as it is there.
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
			if ctx.Err() != nil { // the end of the demo, whatever it came upon
				return nil
			}
			return err
		})
		return g.Wait()
	})
}

// newAPI makes the API without keys: it listens on the loopback address, on a port that is free.
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
		Requests: store.NewRequests(s.rdb), Serves: func(id string) bool { return serves[id] },
		MayName: mayName, Log: s.cfg.Log, Metrics: httpapi.NewMetrics(s.metrics),
		Monitoring: pages, Status: status.New(
			status.Config{
				Apps: s.cfg.apps(), Lifetime: wechattest.DefaultLifetime,
				Webhooks: []status.Webhook{{Name: hookName, Apps: s.cfg.apps()}},
			},
			status.Sources{
				Activity: store.NewRecent(s.rdb), Pauses: store.NewPauses(s.rdb), Deliveries: s.deliveries,
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

// mayName knows the shop of the demo.
func mayName(_, webhook string, _ bool) error {
	if webhook != hookName {
		return errors.New("is not the webhook of the demo")
	}
	return nil
}

// hooks is what the API does with endpoints; a demo tests none.
type hooks struct{ *worker.Replayer }

// Test implements [httpapi.Webhooks].
func (hooks) Test(context.Context, string) (store.Attempt, bool) { return store.Attempt{}, false }

// never is the load of queues that take everything.
type never struct{}

// High implements [httpapi.Load].
func (never) High(context.Context, string) bool { return false }

// Room implements [httpapi.Load].
func (never) Room(context.Context, string) error { return nil }
