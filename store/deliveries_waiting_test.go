package store_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cloudidq/store"
)

// backlogs returns the backlogs by "endpoint appid".
func (b *outboxFixture) backlogs(limit int) (map[string]store.Backlog, bool) {
	b.Helper()
	list, more, err := b.deliveries.Backlogs(b.Context(), limit)
	if err != nil {
		b.Fatal(err)
	}
	by := make(map[string]store.Backlog)
	for _, backlog := range list {
		key := backlog.Endpoint + " " + backlog.AppID
		if _, twice := by[key]; twice {
			b.Errorf("%s is listed twice", key)
		}
		backlog.Endpoint, backlog.AppID = "", ""
		by[key] = backlog
	}
	return by, more
}

func (b *outboxFixture) setState(id string, state store.DeliveryState) {
	b.Helper()
	if err := b.deliveries.RecordAttempt(b.Context(), id, state, time.Now().Add(time.Hour), nil, false); err != nil {
		b.Fatal(err)
	}
}

// Backlogs are counted by endpoint and app, and stop at the limit.
func TestBacklogs_ByEndpointAndApp(t *testing.T) {
	b := newOutboxFixture(t)
	if got, more := b.backlogs(10); len(got) != 0 || more {
		t.Errorf("of nothing = %v, %v", got, more)
	}
	var ids []string
	for n := range 5 {
		b.save("t", outgoing(n, store.Resolved))
		id, _ := b.cut(1)
		ids = append(ids, id)
	}
	b.setState(ids[0], store.DeliveryHeld)
	b.setState(ids[1], store.DeliveryExhausted)
	b.setState(ids[2], store.DeliveryDelivered)
	other := outgoing(9, store.Failed)
	other.AppID, other.Deliver.Endpoint = "wx2", "stock"
	b.save("t", other)
	if _, _, err := b.deliveries.Cut(t.Context(), "wx2", "stock", 10); err != nil {
		t.Fatal(err)
	}
	got, more := b.backlogs(100)
	want := map[string]store.Backlog{
		"orders wx1": {Pending: 2, Held: 1, Exhausted: 1},
		"stock wx2":  {Pending: 1},
	}
	if diff := cmp.Diff(want, got); diff != "" || more {
		t.Errorf("more = %v (-want +got):\n%s", more, diff)
	}
	got, more = b.backlogs(3)
	if n := got["orders wx1"].Pending + got["orders wx1"].Held + got["orders wx1"].Exhausted; n != 3 || !more {
		t.Errorf("of 3 at most = %v, %v, want 3, and more = true", got, more)
	}
}
