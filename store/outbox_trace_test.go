package store_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"cloudidq/internal/redistest"
	"cloudidq/store"
)

// The trace of a result is stored next to it. A delivery has the same bytes with and without
// traces. An erasure removes a result together with its trace.
func TestDeliveries_Traces(t *testing.T) {
	eachStore(t, deliveriesTraces)
	t.Run("Unsealed", func(t *testing.T) {
		rdb := redistest.Start(t).Client(t)
		deliveriesTraces(t, &outboxFixture{T: t, rdb: rdb, results: store.NewRedis(rdb, time.Hour), deliveries: store.NewDeliveries(rdb)})
	})
}

func deliveriesTraces(t *testing.T, b *outboxFixture) {
	const (
		one = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
		two = "00-11111111111111111111111111111111-2222222222222222-00"
	)
	// The last two are malformed, and are omitted like the missing one.
	traces := []string{one, two, one, "", one[:54], "01" + one[2:]}
	var traced, plain []store.Record
	for i, trace := range traces {
		rec := outgoing(i, store.Resolved)
		rec.FinishedAt = rec.AcceptedAt
		rec.Deliver.Trace = trace
		traced = append(traced, rec)
		rec.Deliver.Trace = ""
		plain = append(plain, rec)
	}
	b.save("t1", traced...)
	id, left := b.cut(100)
	with := b.load(id)
	if left != 0 || len(with.Items) != len(traces) {
		t.Fatalf("%d items, %d left; want %d", len(with.Items), left, len(traces))
	}
	if want := []string{one, two}; !slices.Equal(with.Traces, want) {
		t.Errorf("traces %q, want %q", with.Traces, want)
	}
	b.save("t2", renamed(plain)...)
	id, _ = b.cut(100)
	without := b.load(id)
	if len(without.Traces) != 0 {
		t.Errorf("traces %q of results that have none", without.Traces)
	}
	for i := range with.Items {
		if got, want := string(with.Items[i]), strings.ReplaceAll(string(without.Items[i]), "_AGAIN", ""); got != want {
			t.Errorf("item %d is %s with a trace, %s without", i, got, want)
		}
	}
	if _, err := b.results.Erase(t.Context(), "wx1", "oPLANTED_0"); err != nil {
		t.Fatal(err)
	}
	if got := b.load(with.ID); len(got.Items) != 3 || !slices.Equal(got.Traces, []string{two}) {
		t.Errorf("%d items of %q are left after an erasure, want 3 of the other user", len(got.Items), got.Traces)
	}
}

// renamed returns the records with other cloudIDs.
func renamed(records []store.Record) []store.Record {
	out := slices.Clone(records)
	for i := range out {
		out[i].CloudID += "_AGAIN"
	}
	return out
}
