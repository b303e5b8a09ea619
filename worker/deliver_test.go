package worker

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"cloudidq/internal/coord"
	"cloudidq/internal/redistest"
	"cloudidq/internal/secret"
	"cloudidq/internal/webhook"
	"cloudidq/store"
	"cloudidq/tasks"
)

// stuck is a sender whose attempts do not end until it is healed, longer than any real one may take.
type stuck struct {
	begun  atomic.Int64
	healed chan struct{}
}

func (h *stuck) Send(context.Context, string, []byte) webhook.Attempt {
	h.begun.Add(1)
	<-h.healed
	return webhook.Attempt{Class: webhook.Canceled}
}

// An endpoint that hangs holds its own deliveries only: another one gets all of its results meanwhile.
func TestDeliver_HangingEndpointBlocksNobody(t *testing.T) {
	t.Parallel()
	rdb := redistest.Start(t).Client(t)
	var arrived atomic.Int64
	hangs := &stuck{healed: make(chan struct{})}
	healthy := hookAt(t, "healthy", 10, func(_ http.ResponseWriter, r *http.Request) { arrived.Add(countResults(r)) })
	results := store.NewRedis(rdb, time.Hour)
	saveFinished(t, results, "hanging", 200)
	deliveryWorker(t, rdb, Webhook{Name: "hanging", Sender: hangs, BatchMax: 1}, healthy)
	t.Cleanup(func() { close(hangs.healed) }) // before the worker stops
	await(t, "attempts that hang", func() bool { return hangs.begun.Load() > 0 })
	saveFinished(t, results, "healthy", 1000)
	await(t, "all results of the healthy endpoint", func() bool { return arrived.Load() >= 1000 })
}

// circuitTrips is the number of failures in a row after which the circuit of an endpoint opens.
const circuitTrips = 5

// Many deliveries that wait for a failing endpoint have no tasks and cause no attempts, in any
// process. Another endpoint gets its deliveries meanwhile. When the failing endpoint recovers,
// all of its deliveries arrive.
func TestWaitList_DeadEndpointBesideOthers(t *testing.T) {
	t.Parallel()
	rdb := redistest.Start(t).Client(t)
	const waiting = 400
	var attempts, arrived, others atomic.Int64
	var well atomic.Bool
	dead := hookAt(t, "dead", 1, func(w http.ResponseWriter, r *http.Request) {
		attempts.Add(1)
		if n := countResults(r); well.Load() {
			arrived.Add(n)
			return
		}
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	healthy := hookAt(t, "healthy", 10, func(_ http.ResponseWriter, r *http.Request) { others.Add(countResults(r)) })
	results, rows := store.NewRedis(rdb, time.Hour), store.NewDeliveries(rdb)
	saveFinished(t, results, "dead", waiting)
	saveFinished(t, results, "healthy", 1000)
	w := deliveryWorker(t, rdb, dead, healthy)
	deliveryWorker(t, rdb, dead, healthy)
	slots := int64(w.slots(tasks.QueueWebhooks) / 2 * 2) // half of the slots of each of two workers
	inspector := asynq.NewInspectorFromRedisClient(rdb)
	await(t, "parked deliveries", func() bool {
		n, err := rows.Parked(t.Context(), "dead")
		if err != nil {
			t.Fatal(err)
		}
		info, err := inspector.GetQueueInfo(tasks.QueueWebhooks)
		if err != nil {
			return false
		}
		return others.Load() == 1000 && info.Pending+info.Active == 0 && n+info.Retry == waiting
	})
	if n := attempts.Load(); n < circuitTrips || n > slots+circuitTrips {
		t.Errorf("%d attempts at an endpoint that refuses, want %d to %d", n, circuitTrips, slots+circuitTrips)
	}
	well.Store(true)
	if err := rows.OpenCircuit(t.Context(), "dead", time.Now()); err != nil {
		t.Fatal(err)
	}
	// Deliveries with a failed attempt would wait longer.
	if _, err := inspector.RunAllRetryTasks(tasks.QueueWebhooks); err != nil {
		t.Fatal(err)
	}
	await(t, "all to arrive", func() bool { return arrived.Load() >= waiting })
}

// deliveryWorker runs a worker with webhooks and no apps until the test ends.
func deliveryWorker(tb testing.TB, rdb *redis.Client, hooks ...Webhook) *Worker {
	tb.Helper()
	w, err := New(Config{
		Webhooks: hooks, Lifetime: time.Minute, Concurrency: 64, Fetchers: 2, ShutdownTimeout: 2 * time.Second,
		Shares: map[string]int{tasks.QueueEvents: 6, tasks.QueueBackfill: 1, tasks.QueueWebhooks: 3},
	}, Parts{
		Queue: rdb, Results: store.NewRedis(rdb, time.Hour), Deliveries: store.NewDeliveries(rdb), WeChat: instant{},
		Pauses: coord.NewPauses(rdb), Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		tb.Fatal(err)
	}
	runUntilTheEnd(tb, w)
	return w
}

// hookAt returns a webhook whose endpoint is a real server.
func hookAt(tb testing.TB, name string, batchMax int, handler http.HandlerFunc) Webhook {
	tb.Helper()
	server := httptest.NewServer(handler)
	tb.Cleanup(server.Close)
	key, err := webhook.ParseKey(secret.New("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"))
	if err != nil {
		tb.Fatal(err)
	}
	s, err := webhook.NewSender(webhook.Endpoint{
		Name: name, URL: server.URL, Keys: []webhook.Key{key}, MaxInFlight: 64,
		AllowCIDRs: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
	})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(s.Close)
	return Webhook{Name: name, Sender: s, BatchMax: batchMax}
}

// countResults counts the results of a delivery.
func countResults(r *http.Request) int64 {
	var message struct {
		Data struct {
			Results []json.RawMessage `json:"results"`
		} `json:"data"`
	}
	if json.NewDecoder(r.Body).Decode(&message) != nil {
		return 0
	}
	return int64(len(message.Data.Results))
}

var endsSaved atomic.Int64

// saveFinished saves n resolved records for an endpoint.
func saveFinished(tb testing.TB, results *store.Redis, endpoint string, n int) {
	tb.Helper()
	records := make([]store.Record, n)
	for i := range records {
		records[i] = store.Record{
			AppID: testApp, OpenID: "o1", CloudID: fmt.Sprintf("73_%d", endsSaved.Add(1)), Status: store.Resolved, Kind: "werun",
			Data:    json.RawMessage(`{"stepInfoList":[{"timestamp":1603641600,"step":1234}],"watermark":{"appid":"wx1","timestamp":1603641700}}`),
			Deliver: store.Outlet{Endpoint: endpoint}, AcceptedAt: store.At(time.Now()), FinishedAt: store.At(time.Now()),
		}
	}
	if err := results.Save(tb.Context(), "t", records); err != nil {
		tb.Fatal(err)
	}
}
