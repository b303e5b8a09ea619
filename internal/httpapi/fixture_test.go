package httpapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"cloudidq/internal/backfill"
	"cloudidq/internal/coord"
	"cloudidq/internal/httpapi"
	"cloudidq/internal/monitoring"
	"cloudidq/internal/redistest"
	"cloudidq/internal/secret"
	"cloudidq/internal/status"
	"cloudidq/internal/wechat/push"
	"cloudidq/store"
	"cloudidq/tasks"
	"cloudidq/worker"
)

const (
	admin  = "key-of-the-administrator"
	shopA  = "key-of-app-A-and-nothing-else"
	reader = "key-that-may-only-read"
)

// fixture is an API server with a real Redis.
type fixture struct {
	*testing.T
	url             string
	log             *lockedBuffer
	redis           *redistest.Server
	rdb             *redis.Client
	results         *store.Redis
	lookups         atomic.Int64 // number of look-ups until the store fails; 0 = never
	backfills       *backfill.Store
	stop            func() // stops the server and waits for it
	deliveries      *store.Deliveries
	full            atomic.Bool
	paused          atomic.Bool
	webhooks        *fakeWebhooks
	activeBackfills []status.BackfillStatus
	producer        *tasks.Client
	gate            atomic.Pointer[gate] // if set, Resolve waits for it before it calls the producer
}

// gate delays a call. arrived is closed when the call arrives. The test closes release to let the
// call continue.
type gate struct{ arrived, release chan struct{} }

// Resolve calls the real producer. A test can delay it with gate.
func (b *fixture) Resolve(ctx context.Context, req tasks.Request) (tasks.Receipt, error) {
	if h := b.gate.Load(); h != nil {
		close(h.arrived)
		<-h.release
	}
	return b.producer.Resolve(ctx, req)
}

// WriteChunk calls the real producer.
func (b *fixture) WriteChunk(ctx context.Context, chunk tasks.Chunk) error {
	return b.producer.WriteChunk(ctx, chunk)
}

// Now calls the real producer.
func (b *fixture) Now(ctx context.Context) (time.Time, error) { return b.producer.Now(ctx) }

// High implements [httpapi.Load].
func (b *fixture) High(context.Context, string) bool { return b.full.Load() }

// Room implements [httpapi.Load].
func (b *fixture) Room(context.Context, string) error {
	switch {
	case b.paused.Load():
		return backfill.ErrPaused
	case b.full.Load():
		return backfill.ErrFull
	}
	return nil
}

// Claim calls the real store, like the methods below. Only Lookup can be made to fail.
func (b *fixture) Claim(ctx context.Context, c store.Claim) ([]store.ClaimResult, error) {
	return b.results.Claim(ctx, c)
}

func (b *fixture) Save(ctx context.Context, taskID string, records []store.Record) error {
	return b.results.Save(ctx, taskID, records)
}

func (b *fixture) Erase(ctx context.Context, appID, openID string) (int, error) {
	return b.results.Erase(ctx, appID, openID)
}

func (b *fixture) Lookup(ctx context.Context, appID string, ids []string) ([]store.Record, error) {
	if b.lookups.Load() > 0 && b.lookups.Add(-1) == 0 {
		return nil, errors.New("store unavailable")
	}
	return b.results.Lookup(ctx, appID, ids)
}

// fakeWebhooks records replays and knows the endpoint orders.
type fakeWebhooks struct{ replayed []string }

func (w *fakeWebhooks) Replay(_ context.Context, id string) error {
	w.replayed = append(w.replayed, id)
	return nil
}

func (w *fakeWebhooks) Test(_ context.Context, name string) (store.Attempt, bool) {
	return store.Attempt{Status: 200, Class: "ok"}, name == "orders"
}

// mayName knows three endpoints. ofA and ofB each belong to one app. orders accepts results of
// every app and is listed for app A.
func mayName(appID, webhook string, limited bool) error {
	switch {
	case webhook == "ofA" && appID == "wxA", webhook == "ofB" && appID == "wxB", webhook == "orders" && (!limited || appID == "wxA"):
		return nil
	default:
		return errors.New("is not allowed")
	}
}

// newFixture starts the API with two apps, wxA and wxB.
func newFixture(t *testing.T, keys ...httpapi.Key) *fixture {
	t.Helper()
	return newFixtureWithApps(t, []string{"wxA", "wxB"}, keys...)
}

// newFixtureWithApps is like newFixture, with other apps on the status page.
func newFixtureWithApps(t *testing.T, apps []string, keys ...httpapi.Key) *fixture {
	t.Helper()
	return newFixtureWith(t, apps, func(*httpapi.Server) {}, keys...)
}

// newFixtureWith is like newFixtureWithApps, and changes the server before it runs.
func newFixtureWith(
	t *testing.T, apps []string, change func(*httpapi.Server), keys ...httpapi.Key,
) *fixture {
	t.Helper()
	return startFixture(t, apps, httpapi.Config{Keys: keys}, change)
}

// newFixtureWithConfig is like newFixtureWith, for a server with other settings.
func newFixtureWithConfig(t *testing.T, cfg httpapi.Config, change func(*httpapi.Server)) *fixture {
	t.Helper()
	return startFixture(t, []string{"wxA", "wxB"}, cfg, change)
}

// startFixture starts Redis and the server. Both stop at the end of the test.
func startFixture(
	t *testing.T, apps []string, cfg httpapi.Config, change func(*httpapi.Server),
) *fixture {
	t.Helper()
	b := &fixture{T: t, redis: redistest.Start(t), log: &lockedBuffer{}, webhooks: &fakeWebhooks{}}
	b.rdb = b.redis.Client(t)
	b.results, b.deliveries = store.NewRedis(b.rdb, time.Hour), store.NewDeliveries(b.rdb)
	b.backfills = backfill.NewStore(b.rdb, time.Hour, nil)
	b.producer = tasks.NewClient(b.rdb, tasks.Options{})
	pages, err := monitoring.New(b.rdb, worker.NewFinisher(worker.FinisherParts{
		Queue: b.rdb, Results: b.results, Backfills: b.backfills, Lifetime: 5 * time.Minute, Log: slog.New(slog.DiscardHandler),
		Endpoint: func(context.Context, string) (string, error) { return "orders", nil },
	}))
	if err != nil {
		t.Fatal(err)
	}
	cfg.Listen = "127.0.0.1:0"
	server, err := httpapi.New(cfg, httpapi.Parts{
		Producer: b, Results: b, Backfills: b.backfills, Deliveries: b.deliveries, Webhooks: b.webhooks, Load: b,
		Requests: coord.NewRequests(b.rdb), Log: slog.New(slog.NewTextHandler(b.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Status: b.status(apps), Monitoring: pages,
		Platforms: map[string]httpapi.Platform{"wxc": &platform{event: push.Event{Type: push.Ticket, CreatedAt: time.Unix(1, 0)}}},
		Serves:    func(appID string) bool { return appID == "wxA" || appID == "wxB" },
		MayName:   mayName,
	})
	if err != nil {
		t.Fatal(err)
	}
	// no attempt is regained during the test, even on a slow machine
	server.SetAttemptInterval(time.Hour)
	change(server)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	<-server.Ready()
	b.url = "http://" + server.Addr()
	b.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run = %v", err)
		}
	})
	t.Cleanup(func() {
		b.stop()
		b.producer.Close()
		http.DefaultClient.CloseIdleConnections()
	})
	return b
}

// allKeys returns a key with all scopes, a key for app A, and a key that may only read.
func allKeys() []httpapi.Key {
	return []httpapi.Key{
		httpapi.NewKey("admin", secret.New(admin), httpapi.Scopes, nil),
		httpapi.NewKey("shop", secret.New(shopA), []httpapi.Scope{httpapi.ScopeResolve, httpapi.ScopeRead, httpapi.ScopeErase}, []string{"wxA"}),
		httpapi.NewKey("reader", secret.New(reader), []httpapi.Scope{httpapi.ScopeRead}, nil),
	}
}

// call sends a request with a JSON body. header holds names and values in turn.
func (b *fixture) call(method, path, body string, header ...string) reply {
	b.Helper()
	return do(b.T, method, b.url+path, body, append([]string{"Content-Type", "application/json"}, header...)...)
}

// until waits until done returns true.
func (b *fixture) until(what string, done func() bool) {
	b.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.Fatalf("%s: not within 2 minutes", what)
		}
	}
}

// queued returns the payloads in a queue.
func (b *fixture) queued(queue string) []tasks.ResolvePayload {
	b.Helper()
	infos, err := asynq.NewInspectorFromRedisClient(b.rdb).ListPendingTasks(queue, asynq.PageSize(1000))
	if err != nil && !strings.Contains(err.Error(), "not found") {
		b.Fatal(err)
	}
	var payloads []tasks.ResolvePayload
	for _, info := range infos {
		p, err := tasks.ParseResolve(info.Payload)
		if err != nil {
			b.Fatal(err)
		}
		payloads = append(payloads, p)
	}
	return payloads
}

func (b *fixture) save(appID string, ids ...string) {
	b.Helper()
	for _, id := range ids {
		rec := store.Record{
			AppID: appID, OpenID: "o1", CloudID: id, Status: store.Resolved, Kind: "werun", Data: json.RawMessage(`{"a":9007199254740993}`),
			Attempts: 1, AcceptedAt: store.At(time.Now()), FinishedAt: store.At(time.Now()),
		}
		if err := b.results.Save(b.Context(), "t", []store.Record{rec}); err != nil {
			b.Fatal(err)
		}
	}
}

func parse[T any](t *testing.T, text string) (v T) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("not JSON: %v: %s", err, text)
	}
	return v
}
