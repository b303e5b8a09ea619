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

// tasks are the ids of the deliveries that have a task which is about to run.
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

// round runs the tasks that are there, and returns how many there were.
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

// look is the tick of a worker.
func (b *deliverBed) look() { b.d.lines.look(b.Context(), b.d.endpoints["orders"]) }

func (b *deliverBed) inLine() int {
	b.Helper()
	n, err := b.rows.InLine(b.Context(), "orders")
	if err != nil {
		b.Fatal(err)
	}
	return n
}

// lined puts n deliveries into the line of an endpoint that has been shut.
func (b *deliverBed) lined(n int) []string {
	b.Helper()
	b.shut(time.Hour)
	return b.fill(n)
}

// fill puts n deliveries into the line of an endpoint that is shut.
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

func (b *deliverBed) shut(d time.Duration) {
	b.Helper()
	if err := b.rows.Shut(b.Context(), "orders", time.Now().Add(d)); err != nil {
		b.Fatal(err)
	}
}

// One attempt finds out, and what waits follows in twos: each delivery once, with none of its schedule used up before.
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

// While nobody answers, a look at the line costs one attempt when its time has come, and no other delivery a step of its
// schedule.
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

// While one is finding out, nobody else does, in whatever process.
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
		// This one looked at the endpoint when its time had come, and before the other one was let through.
		if err := b.d.attempt(t.Context(), b.d.endpoints["orders"], &late, state); err != nil || b.inLine() != 5 {
			t.Errorf("%v, %d in line, want the late one and four", err, b.inLine())
		}
	}
	b.look()
	if n := b.round(); n != 1 || len(b.sender.sent) != 1 {
		t.Errorf("%d tasks, %d attempts, want one", n, len(b.sender.sent))
	}
}

// A refusal is an answer: the endpoint is there, and takes others.
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

// What waits for an endpoint that is disabled is held, what comes for it too, and a replay sends all, one first.
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

// A delivery whose task is there already is not lost when it is called up: it has its turn later.
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

// Many that wait for an endpoint that refuses have no tasks and cause no attempts, in whatever process; the other endpoint
// gets its own meanwhile, and they arrive when theirs is well again.
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
	slots := int64(w.slots(tasks.QueueWebhooks) / 2 * 2) // those of two workers
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
	if _, err := inspector.RunAllRetryTasks(tasks.QueueWebhooks); err != nil { // those that were tried wait for longer
		t.Fatal(err)
	}
	await(t, "all to arrive", func() bool { return arrived.Load() >= waiting })
}

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
