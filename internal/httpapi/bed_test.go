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

// bed is a test fixture: the API with a real Redis.
type bed struct {
	*testing.T
	url        string
	log        *lockedBuffer
	redis      *redistest.Server
	rdb        *redis.Client
	results    *store.Redis
	lookups    atomic.Int64 // number of look-ups until the store fails; 0 = never
	backfills  *backfill.Store
	stop       func() // stops the server and waits for it
	deliveries *store.Deliveries
	full       atomic.Bool
	paused     atomic.Bool
	webhooks   *fakeWebhooks
	underWay   []status.BackfillStatus
	producer   *tasks.Client
	hold       atomic.Pointer[hold] // if set, Resolve waits for it before it calls the producer
}

// hold delays a call. come is closed when the call arrives. The test closes let to let it through.
type hold struct{ come, let chan struct{} }

// Resolve calls the real producer. A test can delay it with hold.
func (b *bed) Resolve(ctx context.Context, req tasks.Request) (tasks.Receipt, error) {
	if h := b.hold.Load(); h != nil {
		close(h.come)
		<-h.let
	}
	return b.producer.Resolve(ctx, req)
}

// WriteChunk calls the real producer.
func (b *bed) WriteChunk(ctx context.Context, chunk tasks.Chunk) error {
	return b.producer.WriteChunk(ctx, chunk)
}

// Now calls the real producer.
func (b *bed) Now(ctx context.Context) (time.Time, error) { return b.producer.Now(ctx) }

// High implements [httpapi.Load].
func (b *bed) High(context.Context, string) bool { return b.full.Load() }

// Room implements [httpapi.Load].
func (b *bed) Room(context.Context, string) error {
	switch {
	case b.paused.Load():
		return backfill.ErrPaused
	case b.full.Load():
		return backfill.ErrFull
	}
	return nil
}

// Claim calls the real store, like the methods below. Only Lookup can be made to fail.
func (b *bed) Claim(ctx context.Context, c store.Claim) ([]store.ClaimResult, error) {
	return b.results.Claim(ctx, c)
}

func (b *bed) Save(ctx context.Context, taskID string, records []store.Record) error {
	return b.results.Save(ctx, taskID, records)
}

func (b *bed) Erase(ctx context.Context, appID, openID string) (int, error) {
	return b.results.Erase(ctx, appID, openID)
}

func (b *bed) Lookup(ctx context.Context, appID string, ids []string) ([]store.Record, error) {
	if b.lookups.Load() > 0 && b.lookups.Add(-1) == 0 {
		return nil, errors.New("the store is away")
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
		return errors.New("is not one of these")
	}
}

// newBed starts the API with two apps, wxA and wxB.
func newBed(t *testing.T, keys ...httpapi.Key) *bed {
	t.Helper()
	return newBedOf(t, []string{"wxA", "wxB"}, keys...)
}

// newBedOf is like newBed, with other apps on the status page.
func newBedOf(t *testing.T, apps []string, keys ...httpapi.Key) *bed {
	t.Helper()
	return newBedWith(t, apps, func(*httpapi.Server) {}, keys...)
}

// newBedWith is like newBedOf, and changes the server before it runs.
func newBedWith(t *testing.T, apps []string, change func(*httpapi.Server), keys ...httpapi.Key) *bed {
	t.Helper()
	return startBed(t, apps, httpapi.Config{Keys: keys}, change)
}

// newBedOn is like newBedWith, for a server with other settings.
func newBedOn(t *testing.T, cfg httpapi.Config, change func(*httpapi.Server)) *bed {
	t.Helper()
	return startBed(t, []string{"wxA", "wxB"}, cfg, change)
}

// startBed starts Redis and the server. Both stop at the end of the test.
func startBed(t *testing.T, apps []string, cfg httpapi.Config, change func(*httpapi.Server)) *bed {
	t.Helper()
	b := &bed{T: t, redis: redistest.Start(t), log: &lockedBuffer{}, webhooks: &fakeWebhooks{}}
	b.rdb = b.redis.Client(t)
	b.results, b.deliveries = store.NewRedis(b.rdb, time.Hour), store.NewDeliveries(b.rdb)
	b.backfills = backfill.NewStore(b.rdb, time.Hour, nil)
	b.producer = tasks.NewClient(b.rdb, tasks.Options{})
	pages, err := monitoring.New(b.rdb, worker.NewEnder(worker.EnderParts{
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
	server.Tries(time.Hour) // no attempt is regained during the test, even on a slow machine
	change(server)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()
	<-server.Ready()
	b.url = "http://" + server.Addr()
	b.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
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
func (b *bed) call(method, path, body string, header ...string) reply {
	b.Helper()
	return do(b.T, method, b.url+path, body, append([]string{"Content-Type", "application/json"}, header...)...)
}

// until waits until done returns true.
func (b *bed) until(what string, done func() bool) {
	b.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.Fatalf("%s: not within 20 s", what)
		}
	}
}

// queued returns the payloads in a queue.
func (b *bed) queued(queue string) []tasks.ResolvePayload {
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

func (b *bed) save(appID string, ids ...string) {
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
