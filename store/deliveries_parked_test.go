package store_test

import (
	"slices"
	"sync"
	"testing"
	"time"

	"cloudidq/store"
)

// deliveriesOf makes n deliveries of one result each and returns their ids, the oldest first.
func (b *outboxFixture) deliveriesOf(n int) []string {
	b.Helper()
	ids := make([]string, n)
	for i := range ids {
		b.save("t", outgoing(i, store.Resolved))
		ids[i], _ = b.cut(1)
	}
	return ids
}

func (b *outboxFixture) park(ids ...string) {
	b.Helper()
	for _, id := range ids {
		if err := b.deliveries.Park(b.Context(), "orders", id); err != nil {
			b.Fatal(err)
		}
	}
}

func (b *outboxFixture) due(by time.Time) []string {
	b.Helper()
	ids, err := b.deliveries.Due(b.Context(), "wx1", by, time.Minute, 1000)
	if err != nil {
		b.Fatal(err)
	}
	return ids
}

// With many callers, each delivery is unparked once. It is then due again, so that a sweep
// finds it if its caller dies.
func TestPark_EachOnce(t *testing.T) {
	b := newOutboxFixture(t)
	ids := b.deliveriesOf(60)
	b.park(ids...)
	if due := b.due(time.Now().Add(time.Minute)); len(due) != 0 {
		t.Errorf("%d parked ones are due, want none for a while", len(due))
	}
	if n, err := b.deliveries.Parked(t.Context(), "orders"); n != 60 || err != nil {
		t.Errorf("Parked = %d, %v", n, err)
	}
	var mu sync.Mutex
	var unparked []string
	var callers sync.WaitGroup
	for range 8 {
		callers.Go(func() {
			for {
				some, err := b.deliveries.Unpark(t.Context(), "orders", 3)
				if err != nil || len(some) == 0 {
					if err != nil {
						t.Error(err)
					}
					return
				}
				mu.Lock()
				unparked = append(unparked, some...)
				mu.Unlock()
			}
		})
	}
	callers.Wait()
	due := b.due(time.Now())
	for _, list := range [][]string{ids, unparked, due} {
		slices.Sort(list)
	}
	if !slices.Equal(unparked, ids) || !slices.Equal(due, ids) {
		t.Errorf("%d were unparked and %d are due, want each of 60 once", len(unparked), len(due))
	}
	if n, err := b.deliveries.Parked(t.Context(), "orders"); n != 0 || err != nil {
		t.Errorf("Parked = %d, %v", n, err)
	}
}

// The delivery parked longest is unparked first. A delivery parked again goes to the end.
func TestPark_Order(t *testing.T) {
	b := newOutboxFixture(t)
	ids := b.deliveriesOf(3)
	for _, id := range append(ids, ids[0]) {
		b.park(id)
		time.Sleep(2 * time.Millisecond) // the order is by milliseconds
	}
	got, err := b.deliveries.Unpark(t.Context(), "orders", 10)
	if want := []string{ids[1], ids[2], ids[0]}; err != nil || !slices.Equal(got, want) {
		t.Errorf("Unpark = %v, %v, want %v", got, err, want)
	}
}

// A delivery that no longer exists leaves nothing in the due list.
func TestPark_Erased(t *testing.T) {
	b := newOutboxFixture(t)
	id := b.deliveriesOf(1)[0]
	if err := b.deliveries.Forget(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	b.park(id)
	if got, err := b.deliveries.Unpark(t.Context(), "orders", 10); err != nil || len(got) != 1 {
		t.Errorf("Unpark = %v, %v", got, err)
	}
	if due := b.due(time.Now().Add(2 * time.Hour)); len(due) != 0 {
		t.Errorf("%v are due again, want it forgotten", due)
	}
}

// While the circuit is open, one caller may probe per interval.
func TestProbe_OneAtATime(t *testing.T) {
	b := newOutboxFixture(t)
	now := time.Now()
	probe := func(at time.Time, want bool) {
		t.Helper()
		if may, err := b.deliveries.Probe(t.Context(), "orders", at, 45*time.Second); err != nil || may != want {
			t.Errorf("Probe = %t, %v, want %t", may, err, want)
		}
	}
	probe(now, true) // the circuit is closed
	probe(now, true)
	if err := b.deliveries.OpenCircuit(t.Context(), "orders", now.Add(30*time.Second)); err != nil {
		t.Fatal(err)
	}
	probe(now.Add(29*time.Second), false)
	probe(now.Add(30*time.Second), true)
	probe(now.Add(60*time.Second), false)
	probe(now.Add(75*time.Second), true) // no result of the first probe was recorded
	for range 3 {
		if state, err := b.deliveries.EndpointFailed(t.Context(), "orders", false, now); err != nil || state.InRow == 0 {
			t.Errorf("EndpointFailed = %+v, %v", state, err)
		}
	}
	if state, err := b.deliveries.Endpoint(t.Context(), "orders"); err != nil || state.InRow != 3 || state.OpenUntil.IsZero() {
		t.Errorf("Endpoint = %+v, %v, want three in a row", state, err)
	}
	if _, err := b.deliveries.EndpointFailed(t.Context(), "orders", true, now); err != nil {
		t.Fatal(err)
	}
	if state, err := b.deliveries.Endpoint(t.Context(), "orders"); err != nil || state.InRow != 0 || !state.OpenUntil.IsZero() {
		t.Errorf("Endpoint = %+v, %v, want it open after an answer", state, err)
	}
}
