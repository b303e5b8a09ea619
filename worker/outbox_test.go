package worker

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"cloudidq/internal/coord"
	"cloudidq/internal/secret"
	"cloudidq/internal/webhook"
	"cloudidq/store"
	"cloudidq/tasks"
)

// The sweep makes the tasks that a dead worker has not made: for results without a delivery,
// and for deliveries without a task.
func TestOutbox_SweepsWhatOthersLeft(t *testing.T) {
	b := newDeliverBed(t, webhook.Attempt{})
	o := newOutbox(b.rows, asynq.NewClientFromRedisClient(b.rdb), b.d.endpoints, b.d.log)
	saveEnds(t, b.results, "orders", 25)
	inspector := asynq.NewInspectorFromRedisClient(b.rdb)
	o.sweep(t.Context(), false)
	pending, err := inspector.ListPendingTasks(tasks.QueueWebhooks)
	if err != nil || len(pending) != 3 {
		t.Fatalf("%d tasks, %v, want one for each 10 results", len(pending), err)
	}
	lost := pending[0].ID
	if err := inspector.DeleteTask(tasks.QueueWebhooks, lost); err != nil {
		t.Fatal(err)
	}
	o.sweep(t.Context(), false) // the delivery is not overdue yet
	if _, err := inspector.GetTaskInfo(tasks.QueueWebhooks, lost); !errors.Is(err, asynq.ErrTaskNotFound) {
		t.Errorf("GetTaskInfo = %v, want none yet", err)
	}
	if err := b.rows.Settle(t.Context(), lost, store.DeliveryPending, time.Now().Add(-time.Minute), nil, false); err != nil {
		t.Fatal(err)
	}
	o.sweep(t.Context(), false)
	if _, err := inspector.GetTaskInfo(tasks.QueueWebhooks, lost); err != nil {
		t.Errorf("GetTaskInfo = %v, want the task again", err)
	}
}

// A worker that stops makes deliveries of the results that the store has not relayed yet. With
// such a store, saved alone does nothing.
func TestOutbox_StoreThatHandsOverLater_IsAskedAtTheStop(t *testing.T) {
	b := newDeliverBed(t, webhook.Attempt{})
	o := newOutbox(b.rows, asynq.NewClientFromRedisClient(b.rdb), b.d.endpoints, b.d.log)
	o.handOver = func(_ context.Context, handed store.Handed) error {
		saveEnds(t, b.results, "orders", 15)
		handed(testApp, "orders", 15)
		return nil
	}
	o.saved(testApp, "orders", 15)
	if len(o.waiting) != 0 {
		t.Errorf("%d outlets wait before anything is there", len(o.waiting))
	}
	stopped, stop := context.WithCancel(t.Context())
	stop()
	o.run(stopped)
	pending, err := asynq.NewInspectorFromRedisClient(b.rdb).ListPendingTasks(tasks.QueueWebhooks)
	if err != nil || len(pending) != 2 {
		t.Errorf("%d tasks, %v, want one for each 10 results", len(pending), err)
	}
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
