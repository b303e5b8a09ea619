package deliver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"cloudidq/internal/attempt"
	"cloudidq/internal/redistest"
	"cloudidq/internal/webhook"
	"cloudidq/store"
	"cloudidq/tasks"
)

const testApp = "wx0000000000000001"

// answering is a sender whose attempts all have the same outcome.
type answering struct {
	attempt webhook.Attempt
	sent    []string
	bodies  [][]byte
	during  func() // runs during each attempt; may be nil
}

func (a *answering) Send(_ context.Context, id string, body []byte) webhook.Attempt {
	a.sent, a.bodies = append(a.sent, id), append(a.bodies, body)
	if a.during != nil {
		a.during()
	}
	return a.attempt
}

// deliverEnv is a fixture: an attempter with one endpoint over a real Redis.
type deliverEnv struct {
	*testing.T
	rdb     *redis.Client
	results *store.Redis
	rows    *store.Deliveries
	sender  *answering
	d       *attempter
}

func newDeliverEnv(t *testing.T, a webhook.Attempt) *deliverEnv {
	t.Helper()
	rdb := redistest.Start(t).Client(t)
	sender := &answering{attempt: a}
	rows, log := store.NewDeliveries(rdb), slog.New(slog.DiscardHandler)
	endpoints := newEndpoints([]Webhook{{Name: "orders", Sender: sender, BatchMax: 10}}, 2)
	return &deliverEnv{
		T: t, rdb: rdb, results: store.NewRedis(rdb, time.Hour), rows: rows, sender: sender,
		d: &attempter{
			store: rows, endpoints: endpoints, log: log,
			lists: &waitLists{store: rows, queue: asynq.NewClientFromRedisClient(rdb), endpoints: endpoints, log: log},
		},
	}
}

// delivery makes a delivery of n results and returns its id.
func (b *deliverEnv) delivery(n int) string {
	b.Helper()
	saveFinished(b, b.results, n)
	id, _, err := b.rows.Cut(b.Context(), testApp, "orders", n)
	if err != nil || id == "" {
		b.Fatalf("Cut = %q, %v", id, err)
	}
	return id
}

var finishedSaved atomic.Int64

// saveFinished saves n resolved records for the endpoint "orders".
func saveFinished(tb testing.TB, results *store.Redis, n int) {
	tb.Helper()
	records := make([]store.Record, n)
	for i := range records {
		records[i] = store.Record{
			AppID: testApp, OpenID: "o1", CloudID: fmt.Sprintf("73_%d", finishedSaved.Add(1)), Status: store.Resolved, Kind: "werun",
			Data:    json.RawMessage(`{"stepInfoList":[{"timestamp":1603641600,"step":1234}],"watermark":{"appid":"wx1","timestamp":1603641700}}`),
			Deliver: store.Outlet{Endpoint: "orders"}, AcceptedAt: store.At(time.Now()), FinishedAt: store.At(time.Now()),
		}
	}
	if err := results.Save(tb.Context(), "t", records); err != nil {
		tb.Fatal(err)
	}
}

// attempt runs the task of a delivery once.
func (b *deliverEnv) attempt(id string) error {
	b.Helper()
	task, err := tasks.NewDeliverTask(id)
	if err != nil {
		b.Fatal(err)
	}
	return b.d.ProcessTask(b.Context(), task)
}

func (b *deliverEnv) state(id string) store.Delivery {
	b.Helper()
	d, err := b.rows.Get(b.Context(), id)
	if err != nil {
		b.Fatal(err)
	}
	return d
}

// A 2xx answer completes the delivery. A second task for it sends nothing.
func TestDeliver_Delivered(t *testing.T) {
	b := newDeliverEnv(t, webhook.Attempt{Status: 200, Class: webhook.OK, Duration: time.Millisecond})
	id := b.delivery(3)
	if err := b.attempt(id); err != nil {
		t.Errorf("ProcessTask = %v", err)
	}
	if d := b.state(id); d.State != store.DeliveryDelivered || d.Tried != 1 || len(d.Attempts) != 1 || d.Attempts[0].Status != 200 {
		t.Errorf("delivery = %+v", d)
	}
	if err := b.attempt(id); err != nil || len(b.sender.sent) != 1 {
		t.Errorf("a second task: %v, sent %d times", err, len(b.sender.sent))
	}
}

// A failed attempt is retried until the schedule is used up. Then the delivery is exhausted and
// its task archived. All attempts have the same message id.
func TestDeliver_LastAttemptOfTheSchedule(t *testing.T) {
	b := newDeliverEnv(t, webhook.Attempt{Status: 500, Class: webhook.Refused})
	id := b.delivery(1)
	for n := 1; n < webhook.MaxAttempts; n++ {
		err := b.attempt(id)
		later, ok := errors.AsType[*attempt.SnoozeError](err)
		if !ok || !later.Failure || !attempt.IsFailure(err) || later.Delay <= 0 {
			t.Fatalf("attempt %d: %v, want it retried", n, err)
		}
		if d := b.state(id); d.Tried != n || d.State != store.DeliveryPending || !d.Next.After(time.Now()) {
			t.Fatalf("after attempt %d: %+v", n, d)
		}
	}
	if err := b.attempt(id); !errors.Is(err, asynq.SkipRetry) {
		t.Errorf("the last attempt: %v, want it archived", err)
	}
	if d := b.state(id); d.State != store.DeliveryExhausted || d.Tried != webhook.MaxAttempts {
		t.Errorf("delivery = %+v, want it exhausted", d)
	}
	for i, sent := range b.sender.sent {
		if sent != id {
			t.Errorf("attempt %d went out as %s", i+1, sent)
		}
	}
}

// A 410 answer disables the endpoint. Its deliveries are held without further attempts.
func TestDeliver_GoneDisables(t *testing.T) {
	b := newDeliverEnv(t, webhook.Attempt{Status: 410, Class: webhook.Gone})
	first, second := b.delivery(1), b.delivery(1)
	for _, id := range []string{first, second} {
		if err := b.attempt(id); err != nil || b.state(id).State != store.DeliveryHeld {
			t.Errorf("ProcessTask = %v, %+v, want it held", err, b.state(id))
		}
	}
	if len(b.sender.sent) != 1 {
		t.Errorf("%d attempts at an endpoint that is gone", len(b.sender.sent))
	}
}

// Results of an app that the endpoint does not admit are never sent there, even if a task names
// the endpoint. They are held. A replay sends them once the endpoint admits the app.
func TestDeliver_AnotherAppsEndpoint(t *testing.T) {
	b := newDeliverEnv(t, webhook.Attempt{Status: 200, Class: webhook.OK})
	admitted := ""
	b.d.endpoints["orders"].Admits = func(appID string) bool { return appID == admitted }
	id := b.delivery(1)
	for range 2 {
		if err := b.attempt(id); err != nil || b.state(id).State != store.DeliveryHeld || len(b.sender.sent) != 0 {
			t.Errorf("ProcessTask = %v, %+v, sent %v; want it held and nothing sent", err, b.state(id), b.sender.sent)
		}
	}
	admitted = testApp
	if _, err := b.rows.Replay(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if err := b.attempt(id); err != nil || b.state(id).State != store.DeliveryDelivered || len(b.sender.sent) != 1 {
		t.Errorf("after a replay: %v, %+v, sent %v", err, b.state(id), b.sender.sent)
	}
}

// Five days of failures without a success disable the endpoint.
func TestDeliver_FiveDaysOfFailureDisable(t *testing.T) {
	b := newDeliverEnv(t, webhook.Attempt{Class: webhook.Connect})
	now := time.Now()
	for _, ago := range []time.Duration{121 * time.Hour, time.Hour} {
		if _, err := b.rows.EndpointFailed(t.Context(), "orders", true, now.Add(-ago)); err != nil {
			t.Fatal(err)
		}
	}
	id := b.delivery(1)
	if err := b.attempt(id); err != nil || b.state(id).State != store.DeliveryHeld {
		t.Errorf("ProcessTask = %v, %+v, want it held", err, b.state(id))
	}
	if state, err := b.rows.Endpoint(t.Context(), "orders"); err != nil || state.Disabled.IsZero() {
		t.Errorf("Endpoint = %+v, %v, want it disabled", state, err)
	}
}

// A success clears the failures of the endpoint.
func TestDeliver_SuccessForgetsFailures(t *testing.T) {
	b := newDeliverEnv(t, webhook.Attempt{Status: 200, Class: webhook.OK})
	if _, err := b.rows.EndpointFailed(t.Context(), "orders", true, time.Now().Add(-121*time.Hour)); err != nil {
		t.Fatal(err)
	}
	if err := b.attempt(b.delivery(1)); err != nil {
		t.Fatal(err)
	}
	if state, err := b.rows.Endpoint(t.Context(), "orders"); err != nil || !state.FirstFailure.IsZero() {
		t.Errorf("Endpoint = %+v, %v, want nothing of failures", state, err)
	}
}

// If no attempt is made, the schedule does not advance.
func TestDeliver_NotAttempted(t *testing.T) {
	wantLater := func(t *testing.T, b *deliverEnv, id string) {
		t.Helper()
		err := b.attempt(id)
		later, ok := errors.AsType[*attempt.SnoozeError](err)
		if !ok || later.Failure || attempt.IsFailure(err) || later.Delay <= 0 {
			t.Errorf("ProcessTask = %v, want it snoozed", err)
		}
	}
	wantParked := func(t *testing.T, b *deliverEnv, id string) {
		t.Helper()
		if err := b.attempt(id); err != nil {
			t.Errorf("ProcessTask = %v, want nothing: it needs no task", err)
		}
		if ids, err := b.rows.Unpark(t.Context(), "orders", 10); err != nil || len(ids) != 1 || ids[0] != id {
			t.Errorf("parked: %v, %v, want %s", ids, err, id)
		}
		if d := b.state(id); d.Tried != 0 || d.State != store.DeliveryPending {
			t.Errorf("delivery = %+v, want none of the schedule used up", d)
		}
	}
	t.Run("CircuitOpen", func(t *testing.T) {
		b := newDeliverEnv(t, webhook.Attempt{Class: webhook.Timeout})
		for range circuitTrips {
			if later, ok := errors.AsType[*attempt.SnoozeError](b.attempt(b.delivery(1))); !ok || !later.Failure {
				t.Fatal("not attempted")
			}
		}
		wantParked(t, b, b.delivery(1))
		if len(b.sender.sent) != circuitTrips {
			t.Errorf("%d attempts", len(b.sender.sent))
		}
	})
	t.Run("RefusalsOpenNothing", func(t *testing.T) {
		b := newDeliverEnv(t, webhook.Attempt{Status: 400, Class: webhook.Refused})
		for range 2 * circuitTrips {
			_ = b.attempt(b.delivery(1))
		}
		if len(b.sender.sent) != 2*circuitTrips {
			t.Errorf("%d attempts", len(b.sender.sent))
		}
	})
	t.Run("SlotsTaken", func(t *testing.T) {
		b := newDeliverEnv(t, webhook.Attempt{Class: webhook.OK})
		for range 2 {
			leave, ok := b.d.endpoints["orders"].enter()
			if !ok {
				t.Fatal("no slot")
			}
			defer leave()
		}
		wantParked(t, b, b.delivery(1))
	})
	t.Run("UnknownEndpoint", func(t *testing.T) {
		b := newDeliverEnv(t, webhook.Attempt{Class: webhook.OK})
		id := b.delivery(1)
		b.d.endpoints, b.d.lists.endpoints = nil, nil
		wantParked(t, b, id)
	})
	t.Run("RedisAway", func(t *testing.T) {
		b := newDeliverEnv(t, webhook.Attempt{Class: webhook.OK})
		id := b.delivery(1)
		if err := b.rdb.Close(); err != nil {
			t.Fatal(err)
		}
		wantLater(t, b, id)
	})
	t.Run("Stop", func(t *testing.T) {
		b := newDeliverEnv(t, webhook.Attempt{Class: webhook.Canceled})
		id := b.delivery(1)
		if err := b.attempt(id); !errors.Is(err, context.Canceled) || attempt.IsFailure(err) {
			t.Errorf("ProcessTask = %v, want Canceled", err)
		}
		if d := b.state(id); d.Tried != 0 {
			t.Errorf("delivery = %+v", d)
		}
	})
	t.Run("NotThere", func(t *testing.T) {
		b := newDeliverEnv(t, webhook.Attempt{Class: webhook.OK})
		if err := b.attempt("msg_0123abcd_0123456789abcdef0123456789abcdef"); err != nil {
			t.Errorf("ProcessTask = %v, want nothing", err)
		}
	})
	t.Run("Garbage", func(t *testing.T) {
		b := newDeliverEnv(t, webhook.Attempt{Class: webhook.OK})
		for _, payload := range []string{"", "{}", `{"delivery":"a.b"}`, `{"delivery":7}`, "[]"} {
			err := b.d.ProcessTask(t.Context(), asynq.NewTask(tasks.TypeDeliver, []byte(payload)))
			if !errors.Is(err, asynq.SkipRetry) {
				t.Errorf("ProcessTask(%q) = %v, want it archived", payload, err)
			}
		}
	})
}
