package worker

import (
	"errors"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"cloudidq/internal/redistest"
	"cloudidq/internal/webhook"
	"cloudidq/store"
	"cloudidq/tasks"
)

// tasks returns the ids of the deliveries with a pending task.
func (b *deliverBed) tasks() []string {
	b.Helper()
	list, err := asynq.NewInspectorFromRedisClient(b.rdb).ListPendingTasks(tasks.QueueWebhooks)
	if err != nil && !errors.Is(err, asynq.ErrQueueNotFound) {
		b.Fatal(err)
	}
	ids := make([]string, len(list))
	for i, info := range list {
		ids[i] = info.ID
	}
	return ids
}

// round runs the pending tasks, and returns their number.
func (b *deliverBed) round() int {
	b.Helper()
	ids := b.tasks()
	for _, id := range ids {
		if err := asynq.NewInspectorFromRedisClient(b.rdb).DeleteTask(tasks.QueueWebhooks, id); err != nil {
			b.Fatal(err)
		}
		_ = b.try(id)
	}
	return len(ids)
}

// look checks the wait list, as a worker does at each tick.
func (b *deliverBed) look() { b.d.lines.look(b.Context(), b.d.endpoints["orders"]) }

// inLine returns the number of deliveries on the wait list.
func (b *deliverBed) inLine() int {
	b.Helper()
	n, err := b.rows.InLine(b.Context(), "orders")
	if err != nil {
		b.Fatal(err)
	}
	return n
}

// lined opens the circuit of the endpoint for an hour, and parks n deliveries.
func (b *deliverBed) lined(n int) []string {
	b.Helper()
	b.shut(time.Hour)
	return b.fill(n)
}

// fill parks n deliveries. The circuit of the endpoint must be open.
func (b *deliverBed) fill(n int) []string {
	b.Helper()
	before, ids := len(b.sender.sent), make([]string, n)
	for i := range ids {
		ids[i] = b.delivery(1)
		if err := b.try(ids[i]); err != nil {
			b.Fatal(err)
		}
	}
	if got, sent := b.inLine(), len(b.sender.sent)-before; got != n || sent != 0 {
		b.Fatalf("%d in line and %d attempts, want %d and none", got, sent, n)
	}
	return ids
}

// shut opens the circuit of the endpoint for d. If d is negative, the hold is over already.
func (b *deliverBed) shut(d time.Duration) {
	b.Helper()
	if err := b.rows.Shut(b.Context(), "orders", time.Now().Add(d)); err != nil {
		b.Fatal(err)
	}
}

// After the hold, one probe is made, and each success unparks two more deliveries. Each
// delivery is sent once. Parking has not used up its schedule.
func TestLine_ComesBack(t *testing.T) {
	b := newDeliverBed(t, webhook.Attempt{Status: 200, Class: webhook.OK})
	ids := b.lined(20)
	b.look()
	if n := len(b.tasks()); n != 0 {
		t.Errorf("%d tasks while the endpoint is shut", n)
	}
	b.shut(-time.Second)
	b.look()
	var rounds []int
	for n := b.round(); n > 0; n = b.round() {
		rounds = append(rounds, n)
	}
	if want := []int{1, 2, 4, 8, 5}; !slices.Equal(rounds, want) {
		t.Errorf("tasks in each round: %v, want %v", rounds, want)
	}
	slices.Sort(ids)
	slices.Sort(b.sender.sent)
	if !slices.Equal(b.sender.sent, ids) {
		t.Errorf("%d attempts, want one for each of 20", len(b.sender.sent))
	}
	for _, id := range ids {
		if d := b.state(id); d.State != store.DeliveryDelivered || d.Tried != 1 {
			t.Errorf("delivery = %+v", d)
		}
	}
}

// While an endpoint does not answer, each hold ends with one probe. The other deliveries do not
// use up their schedule.
func TestLine_StaysDead(t *testing.T) {
	b := newDeliverBed(t, webhook.Attempt{Class: webhook.Connect})
	for range endpointTrips {
		_ = b.try(b.delivery(1))
	}
	ids := b.fill(10)
	for probe := 1; probe <= 3; probe++ {
		b.shut(-time.Second)
		for range 5 {
			b.look()
			b.round()
		}
		if n := len(b.sender.sent); n != endpointTrips+probe {
			t.Fatalf("%d attempts after probe %d, want one for each", n-endpointTrips, probe)
		}
		state, err := b.rows.Endpoint(t.Context(), "orders")
		if err != nil || time.Until(state.Shut.Time) < firstShut-time.Second {
			t.Fatalf("Endpoint = %+v, %v, want it shut for half a minute", state, err)
		}
	}
	tried := 0
	for _, id := range ids {
		d := b.state(id)
		if d.Tried > 1 {
			t.Errorf("%s was tried %d times, want the probes spread", id, d.Tried)
		}
		tried += d.Tried
	}
	if tried != 3 || b.inLine() != 7 {
		t.Errorf("%d were tried and %d are in line, want 3 and 7", tried, b.inLine())
	}
}

// While a probe is under way, no other attempt is made, in any process.
func TestLine_OneFindsOut(t *testing.T) {
	b := newDeliverBed(t, webhook.Attempt{Status: 200, Class: webhook.OK})
	b.lined(5)
	b.shut(-time.Second)
	state, err := b.rows.Endpoint(t.Context(), "orders")
	if err != nil {
		t.Fatal(err)
	}
	late, err := b.rows.Load(t.Context(), b.delivery(1))
	if err != nil {
		t.Fatal(err)
	}
	b.sender.during = func() {
		b.look()
		// This attempt read the state of the endpoint after the hold and before the probe began.
		if err := b.d.attempt(t.Context(), b.d.endpoints["orders"], &late, state); err != nil || b.inLine() != 5 {
			t.Errorf("%v, %d in line, want the late one and four", err, b.inLine())
		}
	}
	b.look()
	if n := b.round(); n != 1 || len(b.sender.sent) != 1 {
		t.Errorf("%d tasks, %d attempts, want one", n, len(b.sender.sent))
	}
}

// A refusal counts as an answer. It closes the circuit, because the endpoint may accept
// other deliveries.
func TestLine_RefusalOpens(t *testing.T) {
	b := newDeliverBed(t, webhook.Attempt{Status: 400, Class: webhook.Refused})
	b.lined(5)
	b.shut(-time.Second)
	b.look()
	for b.round() > 0 { //nolint:revive // each runs what the one before has called up
	}
	if len(b.sender.sent) != 5 || b.inLine() != 0 {
		t.Errorf("%d attempts, %d in line", len(b.sender.sent), b.inLine())
	}
}

// Parked and new deliveries of a disabled endpoint are held. A replay sends all of them,
// beginning with a single one.
func TestLine_Disabled(t *testing.T) {
	b := newDeliverBed(t, webhook.Attempt{Status: 200, Class: webhook.OK})
	ids := b.lined(5)
	if err := b.rows.Disable(t.Context(), "orders", "gone", time.Now()); err != nil {
		t.Fatal(err)
	}
	ids = append(ids, b.delivery(1))
	if err := b.try(ids[5]); err != nil {
		t.Fatal(err)
	}
	b.look()
	b.round()
	for _, id := range ids {
		if d := b.state(id); d.State != store.DeliveryHeld || d.Tried != 0 {
			t.Errorf("delivery = %+v, want it held and not tried", d)
		}
	}
	if len(b.sender.sent) != 0 || b.inLine() != 0 {
		t.Errorf("%d attempts at a disabled endpoint, %d in line", len(b.sender.sent), b.inLine())
	}
	replayer := NewReplayer(b.rows, asynq.NewClientFromRedisClient(b.rdb), asynq.NewInspectorFromRedisClient(b.rdb))
	if n, err := replayer.ReplayEndpoint(t.Context(), "orders"); n != 6 || err != nil {
		t.Fatalf("ReplayEndpoint = %d, %v", n, err)
	}
	if may, err := b.rows.Probe(t.Context(), "orders", time.Now(), probeFor); err != nil || !may {
		t.Errorf("the first: Probe = %t, %v", may, err)
	}
	if may, err := b.rows.Probe(t.Context(), "orders", time.Now(), probeFor); err != nil || may {
		t.Errorf("the second: Probe = %t, %v, want it to wait for the first", may, err)
	}
	if b.shut(-time.Second); b.round() != 6 || len(b.sender.sent) != 6 {
		t.Errorf("%d attempts, want all 6", len(b.sender.sent))
	}
}

// A delivery whose task exists already is not lost when it is unparked. It goes back
// to the wait list.
func TestLine_TaskIsThere(t *testing.T) {
	b := newDeliverBed(t, webhook.Attempt{Status: 200, Class: webhook.OK})
	id := b.lined(1)[0]
	task, err := tasks.NewDeliverTask(id)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := asynq.NewClientFromRedisClient(b.rdb).EnqueueContext(t.Context(), task, asynq.ProcessIn(time.Hour)); err != nil {
		t.Fatal(err)
	}
	b.shut(-time.Second)
	b.look()
	if b.inLine() != 1 {
		t.Error("it is not in line any more")
	}
}

// Many deliveries that wait for a failing endpoint have no tasks and cause no attempts, in any
// process. Another endpoint gets its deliveries meanwhile. When the failing endpoint recovers,
// all of its deliveries arrive.
func TestLine_DeadEndpointBesideOthers(t *testing.T) {
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
	saveEnds(t, results, "dead", waiting)
	saveEnds(t, results, "healthy", 1000)
	w := deliveryWorker(t, rdb, dead, healthy)
	deliveryWorker(t, rdb, dead, healthy)
	slots := int64(w.slots(tasks.QueueWebhooks) / 2 * 2) // half of the slots of each of two workers
	inspector := asynq.NewInspectorFromRedisClient(rdb)
	await(t, "the line", func() bool {
		n, err := rows.InLine(t.Context(), "dead")
		if err != nil {
			t.Fatal(err)
		}
		info, err := inspector.GetQueueInfo(tasks.QueueWebhooks)
		if err != nil {
			return false
		}
		return others.Load() == 1000 && info.Pending+info.Active == 0 && n+info.Retry == waiting
	})
	if n := attempts.Load(); n < endpointTrips || n > slots+endpointTrips {
		t.Errorf("%d attempts at an endpoint that refuses, want %d to %d", n, endpointTrips, slots+endpointTrips)
	}
	well.Store(true)
	if err := rows.Shut(t.Context(), "dead", time.Now()); err != nil {
		t.Fatal(err)
	}
	// Deliveries with a failed attempt would wait longer.
	if _, err := inspector.RunAllRetryTasks(tasks.QueueWebhooks); err != nil {
		t.Fatal(err)
	}
	await(t, "all to arrive", func() bool { return arrived.Load() >= waiting })
}

// await polls until is returns true. It fails the test if that takes minutes.
func await(t *testing.T, what string, is func() bool) {
	t.Helper()
	limit := time.After(5 * time.Minute) // on a very busy machine
	for !is() {
		select {
		case <-limit:
			t.Fatalf("waited in vain for %s", what)
		case <-time.After(10 * time.Millisecond):
		}
	}
}
