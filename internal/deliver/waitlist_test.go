package deliver

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"cloudidq/internal/webhook"
	"cloudidq/store"
	"cloudidq/tasks"
)

// tasks returns the ids of the deliveries with a pending task.
func (b *deliverEnv) tasks() []string {
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
func (b *deliverEnv) round() int {
	b.Helper()
	ids := b.tasks()
	for _, id := range ids {
		if err := asynq.NewInspectorFromRedisClient(b.rdb).DeleteTask(tasks.QueueWebhooks, id); err != nil {
			b.Fatal(err)
		}
		_ = b.attempt(id)
	}
	return len(ids)
}

// check checks the wait list, as a worker does at each tick.
func (b *deliverEnv) check() { b.d.lists.check(b.Context(), b.d.endpoints["orders"]) }

// parked returns the number of deliveries on the wait list.
func (b *deliverEnv) parked() int {
	b.Helper()
	n, err := b.rows.Parked(b.Context(), "orders")
	if err != nil {
		b.Fatal(err)
	}
	return n
}

// park opens the circuit of the endpoint for an hour, and parks n deliveries.
func (b *deliverEnv) park(n int) []string {
	b.Helper()
	b.openCircuit(time.Hour)
	return b.fill(n)
}

// fill parks n deliveries. The circuit of the endpoint must be open.
func (b *deliverEnv) fill(n int) []string {
	b.Helper()
	before, ids := len(b.sender.sent), make([]string, n)
	for i := range ids {
		ids[i] = b.delivery(1)
		if err := b.attempt(ids[i]); err != nil {
			b.Fatal(err)
		}
	}
	if got, sent := b.parked(), len(b.sender.sent)-before; got != n || sent != 0 {
		b.Fatalf("%d parked and %d attempts, want %d and none", got, sent, n)
	}
	return ids
}

// openCircuit opens the circuit of the endpoint for d. If d is negative, the hold is over already.
func (b *deliverEnv) openCircuit(d time.Duration) {
	b.Helper()
	if err := b.rows.OpenCircuit(b.Context(), "orders", time.Now().Add(d)); err != nil {
		b.Fatal(err)
	}
}

// After the hold, one probe is made, and each success unparks two more deliveries. Each
// delivery is sent once. Parking has not used up its schedule.
func TestWaitList_ComesBack(t *testing.T) {
	b := newDeliverEnv(t, webhook.Attempt{Status: 200, Class: webhook.OK})
	ids := b.park(20)
	b.check()
	if n := len(b.tasks()); n != 0 {
		t.Errorf("%d tasks while the circuit is open", n)
	}
	b.openCircuit(-time.Second)
	b.check()
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
func TestWaitList_StaysDead(t *testing.T) {
	b := newDeliverEnv(t, webhook.Attempt{Class: webhook.Connect})
	for range circuitTrips {
		_ = b.attempt(b.delivery(1))
	}
	ids := b.fill(10)
	for probe := 1; probe <= 3; probe++ {
		b.openCircuit(-time.Second)
		for range 5 {
			b.check()
			b.round()
		}
		if n := len(b.sender.sent); n != circuitTrips+probe {
			t.Fatalf("%d attempts after probe %d, want one for each", n-circuitTrips, probe)
		}
		state, err := b.rows.Endpoint(t.Context(), "orders")
		if err != nil || time.Until(state.OpenUntil.Time) < minOpen-time.Second {
			t.Fatalf("Endpoint = %+v, %v, want its circuit open for half a minute", state, err)
		}
	}
	tried := 0
	for _, id := range ids {
		d := b.state(id)
		if d.Tried > 1 {
			t.Errorf("%s was attempted %d times, want the probes spread", id, d.Tried)
		}
		tried += d.Tried
	}
	if tried != 3 || b.parked() != 7 {
		t.Errorf("%d were attempted and %d are parked, want 3 and 7", tried, b.parked())
	}
}

// While a probe is under way, no other attempt is made, in any process.
func TestWaitList_OneFindsOut(t *testing.T) {
	b := newDeliverEnv(t, webhook.Attempt{Status: 200, Class: webhook.OK})
	b.park(5)
	b.openCircuit(-time.Second)
	state, err := b.rows.Endpoint(t.Context(), "orders")
	if err != nil {
		t.Fatal(err)
	}
	late, err := b.rows.Load(t.Context(), b.delivery(1))
	if err != nil {
		t.Fatal(err)
	}
	b.sender.during = func() {
		b.check()
		// This attempt read the state of the endpoint after the hold and before the probe began.
		if err := b.d.attempt(t.Context(), b.d.endpoints["orders"], &late, state); err != nil || b.parked() != 5 {
			t.Errorf("%v, %d parked, want the late one and four", err, b.parked())
		}
	}
	b.check()
	if n := b.round(); n != 1 || len(b.sender.sent) != 1 {
		t.Errorf("%d tasks, %d attempts, want one", n, len(b.sender.sent))
	}
}

// A refusal counts as an answer. It closes the circuit, because the endpoint may accept
// other deliveries.
func TestWaitList_RefusalOpens(t *testing.T) {
	b := newDeliverEnv(t, webhook.Attempt{Status: 400, Class: webhook.Refused})
	b.park(5)
	b.openCircuit(-time.Second)
	b.check()
	for b.round() > 0 { //nolint:revive // each runs what the one before has unparked
	}
	if len(b.sender.sent) != 5 || b.parked() != 0 {
		t.Errorf("%d attempts, %d parked", len(b.sender.sent), b.parked())
	}
}

// Parked and new deliveries of a disabled endpoint are held. A replay sends all of them,
// beginning with a single one.
func TestWaitList_Disabled(t *testing.T) {
	b := newDeliverEnv(t, webhook.Attempt{Status: 200, Class: webhook.OK})
	ids := b.park(5)
	if err := b.rows.Disable(t.Context(), "orders", "gone", time.Now()); err != nil {
		t.Fatal(err)
	}
	ids = append(ids, b.delivery(1))
	if err := b.attempt(ids[5]); err != nil {
		t.Fatal(err)
	}
	b.check()
	b.round()
	for _, id := range ids {
		if d := b.state(id); d.State != store.DeliveryHeld || d.Tried != 0 {
			t.Errorf("delivery = %+v, want it held and not attempted", d)
		}
	}
	if len(b.sender.sent) != 0 || b.parked() != 0 {
		t.Errorf("%d attempts at a disabled endpoint, %d parked", len(b.sender.sent), b.parked())
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
	if b.openCircuit(-time.Second); b.round() != 6 || len(b.sender.sent) != 6 {
		t.Errorf("%d attempts, want all 6", len(b.sender.sent))
	}
}

// A delivery whose task exists already is not lost when it is unparked. It goes back
// to the wait list.
func TestWaitList_TaskIsThere(t *testing.T) {
	b := newDeliverEnv(t, webhook.Attempt{Status: 200, Class: webhook.OK})
	id := b.park(1)[0]
	task, err := tasks.NewDeliverTask(id)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := asynq.NewClientFromRedisClient(b.rdb).EnqueueContext(t.Context(), task, asynq.ProcessIn(time.Hour)); err != nil {
		t.Fatal(err)
	}
	b.openCircuit(-time.Second)
	b.check()
	if b.parked() != 1 {
		t.Error("it is not parked any more")
	}
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
