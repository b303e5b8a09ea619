package store_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"cloudidq/internal/pgtest"
	"cloudidq/internal/redistest"
	"cloudidq/internal/seal/sealtest"
	"cloudidq/store"
)

// outboxFixture is a fixture: a store and its deliveries over one Redis, sealed.
type outboxFixture struct {
	*testing.T
	rdb        *redis.Client
	results    store.Results
	deliveries *store.Deliveries
}

// eachStore runs a test on each kind of store. The outbox is in Redis, wherever the records
// are.
func eachStore(t *testing.T, test func(*testing.T, *outboxFixture)) {
	t.Helper()
	t.Run("Redis", func(t *testing.T) { test(t, newOutboxFixture(t)) })
	t.Run("Postgres", func(t *testing.T) {
		keyset, _, _ := sealtest.Keysets(t)
		rdb := redistest.Start(t).Client(t)
		deliveries := store.NewDeliveries(rdb, store.Sealed(keyset))
		test(t, &outboxFixture{
			T: t, rdb: rdb, deliveries: deliveries,
			results: openPostgres(t, pgtest.Database(t), time.Hour, store.Sealed(keyset), store.WithOutbox(deliveries)),
		})
	})
}

// newOutboxFixture returns a fixture with records in Redis.
func newOutboxFixture(t *testing.T) *outboxFixture {
	t.Helper()
	rdb := redistest.Start(t).Client(t)
	keyset, _, _ := sealtest.Keysets(t)
	return &outboxFixture{
		T: t, rdb: rdb, results: store.NewRedis(rdb, time.Hour, store.Sealed(keyset)),
		deliveries: store.NewDeliveries(rdb, store.Sealed(keyset)),
	}
}

// outgoing returns a final record of one of two users, to be delivered to an endpoint.
func outgoing(n int, status store.Status) store.Record {
	rec := sealedRecord()
	rec.CloudID, rec.OpenID, rec.Status = fmt.Sprintf("73_PLANTED_%d", n), fmt.Sprintf("oPLANTED_%d", n%2), status
	rec.Deliver = store.Outlet{Endpoint: "orders"}
	rec.AcceptedAt = store.At(time.Now().Add(-time.Minute))
	if status != store.Resolved {
		rec.Data, rec.Kind, rec.Error = nil, "", &store.Error{Code: -601006, Message: "PLANTED"}
	}
	return rec
}

func (b *outboxFixture) save(task string, records ...store.Record) {
	b.Helper()
	if err := b.results.Save(b.Context(), task, records); err != nil {
		b.Fatal(err)
	}
	b.relay()
}

// relay relays saved results to Redis, as Run does after a save.
func (b *outboxFixture) relay() {
	b.Helper()
	if p, ok := b.results.(*store.Postgres); ok {
		if err := p.Relay(b.Context(), nil); err != nil {
			b.Fatal(err)
		}
	}
}

// cut makes a delivery from waiting results of wx1. The id is empty if none wait.
func (b *outboxFixture) cut(maximum int) (id string, left int) {
	b.Helper()
	id, left, err := b.deliveries.Cut(b.Context(), "wx1", "orders", maximum)
	if err != nil {
		b.Fatal(err)
	}
	return id, left
}

func (b *outboxFixture) load(id string) store.Delivery {
	b.Helper()
	d, err := b.deliveries.Load(b.Context(), id)
	if err != nil {
		b.Fatalf("Load: %v", err)
	}
	return d
}

// cloudIDs returns the cloudIDs of a delivery's results, without their prefix.
func cloudIDs(t *testing.T, d store.Delivery) []string {
	t.Helper()
	var ids []string
	for _, item := range d.Items {
		var rec store.Record
		if err := json.Unmarshal(item, &rec); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, strings.TrimPrefix(rec.CloudID, "73_PLANTED_"))
	}
	return ids
}

// list returns the ids of the deliveries that match filter, in order.
func (b *outboxFixture) list(filter store.Filter) []string {
	b.Helper()
	var ids []string
	if err := b.deliveries.List(b.Context(), filter, func(d store.Delivery) bool { ids = append(ids, d.ID); return true }); err != nil {
		b.Fatal(err)
	}
	return ids
}

// keyOf returns the one key that ends with suffix.
func keyOf(t *testing.T, rdb *redis.Client, suffix string) string {
	t.Helper()
	for _, key := range rdb.Keys(t.Context(), "*").Val() {
		if strings.HasSuffix(key, suffix) {
			return key
		}
	}
	t.Fatalf("no key ends with %s", suffix)
	return ""
}
