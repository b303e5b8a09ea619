package store_test

import (
	"testing"
	"time"

	"cloudidq/store"
)

// The state keeps the first failure until a success, and Enable clears everything but a probe.
func TestEndpoints(t *testing.T) {
	b := newOutboxFixture(t)
	now := time.Now().Truncate(time.Millisecond)
	state, err := b.deliveries.EndpointFailed(b.Context(), "orders", true, now)
	if err != nil || !state.FirstFailure.Equal(now) || !state.LastFailure.IsZero() {
		t.Errorf("EndpointFailed = %+v, %v", state, err)
	}
	state, err = b.deliveries.EndpointFailed(b.Context(), "orders", true, now.Add(time.Hour))
	if err != nil || !state.FirstFailure.Equal(now) || !state.LastFailure.Equal(now) {
		t.Errorf("EndpointFailed again = %+v, %v", state, err)
	}
	if err := b.deliveries.Disable(b.Context(), "orders", "gone", now); err != nil {
		t.Fatal(err)
	}
	if err := b.deliveries.EndpointOK(b.Context(), "orders"); err != nil {
		t.Fatal(err)
	}
	state, err = b.deliveries.Endpoint(b.Context(), "orders")
	if err != nil || !state.FirstFailure.IsZero() || !state.Disabled.Equal(now) || state.Reason != "gone" {
		t.Errorf("Endpoint = %+v, %v", state, err)
	}
	if err := b.deliveries.Enable(b.Context(), "orders"); err != nil {
		t.Fatal(err)
	}
	if state, err = b.deliveries.Endpoint(b.Context(), "orders"); err != nil || state.OpenUntil.IsZero() || state != (store.EndpointState{OpenUntil: state.OpenUntil}) {
		t.Errorf("Endpoint = %+v, %v, want nothing known, and one attempt first", state, err)
	}
}
