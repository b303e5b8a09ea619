package store_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"pgregory.net/rapid"

	"cloudidq/internal/pgtest"
	"cloudidq/internal/redistest"
	"cloudidq/store"
	"cloudidq/store/storetest"
)

// outboxBed is a store and its deliveries over one Redis, sealed.
type outboxBed struct {
	*testing.T
	rdb        *redis.Client
	results    store.Results
	deliveries *store.Deliveries
}

// eachStore runs a test on each kind of store: what is delivered lies in Redis, wherever the records are.
func eachStore(t *testing.T, test func(*testing.T, *outboxBed)) {
	t.Helper()
	t.Run("Redis", func(t *testing.T) { test(t, newOutboxBed(t)) })
	t.Run("Postgres", func(t *testing.T) {
		keyset, _, _ := keysets(t)
		rdb := redistest.Start(t).Client(t)
		deliveries := store.NewDeliveries(rdb, store.Sealed(keyset))
		test(t, &outboxBed{
			T: t, rdb: rdb, deliveries: deliveries,
			results: openPostgres(t, pgtest.Database(t), time.Hour, store.Sealed(keyset), store.WithOutbox(deliveries)),
		})
	})
}

func newOutboxBed(t *testing.T) *outboxBed {
	t.Helper()
	rdb := redistest.Start(t).Client(t)
	keyset, _, _ := keysets(t)
	return &outboxBed{
		T: t, rdb: rdb, results: store.NewRedis(rdb, time.Hour, store.Sealed(keyset)),
		deliveries: store.NewDeliveries(rdb, store.Sealed(keyset)),
	}
}

// outgoing is a final record of one of two persons, on its way to an endpoint.
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

func (b *outboxBed) save(task string, records ...store.Record) {
	b.Helper()
	if err := b.results.Save(b.Context(), task, records); err != nil {
		b.Fatal(err)
	}
	b.handOver()
}

// handOver does what Run does behind a save.
func (b *outboxBed) handOver() {
	b.Helper()
	if p, ok := b.results.(*store.Postgres); ok {
		if err := p.HandOver(b.Context(), nil); err != nil {
			b.Fatal(err)
		}
	}
}

func (b *outboxBed) cut(maximum int) (id string, left int) {
	b.Helper()
	id, left, err := b.deliveries.Cut(b.Context(), "wx1", "orders", maximum)
	if err != nil {
		b.Fatal(err)
	}
	return id, left
}

func (b *outboxBed) load(id string) store.Delivery {
	b.Helper()
	d, err := b.deliveries.Load(b.Context(), id)
	if err != nil {
		b.Fatalf("Load: %v", err)
	}
	return d
}

// cloudIDs are those of a delivery's results.
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

func TestDeliveries_FromSaveToDelivery(t *testing.T) { eachStore(t, deliveriesFromSaveToDelivery) }

func deliveriesFromSaveToDelivery(t *testing.T, b *outboxBed) {
	if id, left := b.cut(10); id != "" || left != 0 {
		t.Errorf("Cut of nothing = %q, %d", id, left)
	}
	pending := outgoing(9, store.Pending)
	silent := outgoing(8, store.Resolved)
	silent.Deliver = store.Outlet{}
	b.save("t1", outgoing(1, store.Resolved), outgoing(2, store.Expired), outgoing(3, store.Resolved), pending, silent)
	b.save("t1", outgoing(1, store.Resolved), outgoing(2, store.Expired)) // its answer was lost: nothing is delivered twice
	if outlets, err := b.deliveries.Outlets(b.Context(), "wx1"); err != nil || !slices.Equal(outlets, []string{"orders"}) {
		t.Errorf("Outlets = %v, %v", outlets, err)
	}
	first, left := b.cut(2)
	if left != 1 {
		t.Errorf("%d are left, want 1", left)
	}
	second, left := b.cut(2)
	if left != 0 || first == second {
		t.Errorf("%d are left in %s and %s", left, first, second)
	}
	if outlets, err := b.deliveries.Outlets(b.Context(), "wx1"); err != nil || len(outlets) != 0 {
		t.Errorf("Outlets = %v, %v, want none", outlets, err)
	}
	d := b.load(first)
	if got := cloudIDs(t, d); !slices.Equal(got, []string{"1", "2"}) {
		t.Errorf("the first delivery holds %v", got)
	}
	if got := cloudIDs(t, b.load(second)); !slices.Equal(got, []string{"3"}) {
		t.Errorf("the second delivery holds %v", got)
	}
	if d.AppID != "wx1" || d.Endpoint != "orders" || d.State != store.DeliveryPending || d.Results != 2 || d.Tried != 0 || d.Created.IsZero() {
		t.Errorf("Load = %+v", d)
	}
	if apps, err := b.deliveries.Apps(b.Context()); err != nil || !slices.Equal(apps, []string{"wx1"}) {
		t.Errorf("Apps = %v, %v", apps, err)
	}
	if dump := dumpOf(t, b.rdb); strings.Contains(dump, "PLANTED") {
		t.Errorf("the dump shows what is sealed: %q", dump)
	}
	if _, err := store.NewDeliveries(b.rdb).Load(b.Context(), first); !errors.Is(err, store.ErrUnreadable) {
		t.Errorf("Load without the keyset = %v, want ErrUnreadable", err)
	}
}

// A cloudID that is asked for again after a failure has a second end, which is delivered too.
func TestDeliveries_EachEndOnce(t *testing.T) { eachStore(t, deliveriesEachEndOnce) }

func deliveriesEachEndOnce(t *testing.T, b *outboxBed) {
	b.save("t1", outgoing(1, store.Expired))
	rec := outgoing(1, store.Resolved)
	rec.Status = store.Pending
	if _, err := b.results.Claim(b.Context(), store.Claim{AppID: "wx1", TaskID: "t2", Until: time.Now().Add(time.Hour),
		Records: []store.Record{rec}}); err != nil {
		t.Fatal(err)
	}
	b.save("t2", outgoing(1, store.Resolved))
	b.save("t3", outgoing(1, store.Expired), outgoing(1, store.Resolved)) // too late: the first resolved one stays
	id, _ := b.cut(10)
	if d := b.load(id); len(d.Items) != 2 || !strings.Contains(string(d.Items[0]), "expired") || !strings.Contains(string(d.Items[1]), "resolved") {
		t.Errorf("the delivery holds %s, want the two ends", d.Items)
	}
}

func TestDeliveries_Thin(t *testing.T) { eachStore(t, deliveriesThin) }

func deliveriesThin(t *testing.T, b *outboxBed) {
	rec := outgoing(1, store.Resolved)
	rec.CloudID = "73_a/b+c=?"
	rec.Deliver.Thin = true
	b.save("t1", rec)
	id, _ := b.cut(10)
	want := `{"cloud_id":"73_a/b+c=?","status":"resolved","url":"/v1/resolutions/wx1/73_a%2Fb%2Bc%3D%3F"}`
	if d := b.load(id); len(d.Items) != 1 || string(d.Items[0]) != want {
		t.Errorf("the thin result is %s, want %s", d.Items, want)
	}
}

func TestDeliveries_Settle(t *testing.T) { eachStore(t, deliveriesSettle) }

func deliveriesSettle(t *testing.T, b *outboxBed) {
	b.save("t1", outgoing(1, store.Resolved))
	id, _ := b.cut(10)
	now := time.Now()
	due := func(by time.Time) []string {
		ids, err := b.deliveries.Due(b.Context(), "wx1", by, time.Minute, 10)
		if err != nil {
			t.Fatal(err)
		}
		return ids
	}
	if got := due(now.Add(time.Second)); !slices.Equal(got, []string{id}) {
		t.Errorf("Due = %v, want the new one", got)
	}
	if got := due(now.Add(time.Second)); len(got) != 0 {
		t.Errorf("Due = %v at once again", got)
	}
	settle := func(state store.DeliveryState, next time.Time, status int) {
		if err := b.deliveries.Settle(b.Context(), id, state, next, &store.Attempt{At: store.At(now), Status: status, Class: "refused", DurationMS: 7}, true); err != nil {
			t.Fatal(err)
		}
	}
	for range 25 {
		settle(store.DeliveryPending, now.Add(time.Hour), 500)
	}
	if d := b.load(id); d.Tried != 25 || len(d.Attempts) != 20 || d.Attempts[0].Status != 500 || !d.Next.After(now) || len(d.Items) != 1 {
		t.Errorf("Load = %+v", d)
	}
	if got := due(now.Add(2 * time.Hour)); !slices.Equal(got, []string{id}) {
		t.Errorf("Due = %v, want it", got)
	}
	settle(store.DeliveryExhausted, time.Time{}, 500)
	if got := due(now.Add(99 * time.Hour)); len(got) != 0 {
		t.Errorf("Due = %v, want an exhausted one to rest", got)
	}
	if was, err := b.deliveries.Replay(b.Context(), id); was != store.DeliveryExhausted || err != nil {
		t.Errorf("Replay = %s, %v", was, err)
	}
	if d := b.load(id); d.State != store.DeliveryPending || d.Tried != 0 {
		t.Errorf("after Replay: %+v", d)
	}
	settle(store.DeliveryDelivered, time.Time{}, 200)
	settle(store.DeliveryPending, now, 500) // a second worker that is late
	if d := b.load(id); d.State != store.DeliveryDelivered || len(d.Items) != 0 || d.Attempts[len(d.Attempts)-1].Status != 200 {
		t.Errorf("after the delivery: %+v", d)
	}
	if was, err := b.deliveries.Replay(b.Context(), id); was != store.DeliveryDelivered || err != nil {
		t.Errorf("Replay = %s, %v", was, err)
	}
	if got := due(now.Add(99 * time.Hour)); len(got) != 0 {
		t.Errorf("Due = %v, want a delivered one to rest", got)
	}
	for name, filter := range map[string]store.Filter{
		"All": {}, "Endpoint": {Endpoint: "orders"}, "State": {State: store.DeliveryDelivered}, "App": {AppID: "wx1"},
	} {
		if got := b.list(filter); !slices.Equal(got, []string{id}) {
			t.Errorf("List(%s) = %v", name, got)
		}
	}
	if got := b.list(store.Filter{State: store.DeliveryHeld}); len(got) != 0 {
		t.Errorf("List(held) = %v", got)
	}
}

func (b *outboxBed) list(filter store.Filter) []string {
	b.Helper()
	var ids []string
	if err := b.deliveries.List(b.Context(), filter, func(d store.Delivery) bool { ids = append(ids, d.ID); return true }); err != nil {
		b.Fatal(err)
	}
	return ids
}

func TestDeliveries_Unknown(t *testing.T) {
	b := newOutboxBed(t)
	for _, id := range []string{"", "x", "msg_", "msg_0123abcd_" + strings.Repeat("0", 32), "msg_0123abcd_" + strings.Repeat("}", 32)} {
		if _, err := b.deliveries.Load(b.Context(), id); !errors.Is(err, store.ErrNoDelivery) {
			t.Errorf("Load(%q) = %v", id, err)
		}
		if _, err := b.deliveries.Replay(b.Context(), id); !errors.Is(err, store.ErrNoDelivery) {
			t.Errorf("Replay(%q) = %v", id, err)
		}
	}
	// An erased one stays away when a late attempt is settled.
	id := "msg_0123abcd_" + strings.Repeat("0", 32)
	if err := b.deliveries.Settle(b.Context(), id, store.DeliveryPending, time.Now(), &store.Attempt{}, true); err != nil {
		t.Errorf("Settle = %v", err)
	}
	if keys := b.rdb.Keys(b.Context(), "*").Val(); len(keys) != 0 {
		t.Errorf("Settle made %v", keys)
	}
}

func TestDeliveries_Erase(t *testing.T) { eachStore(t, deliveriesErase) }

func deliveriesErase(t *testing.T, b *outboxBed) {
	b.save("t1", outgoing(1, store.Resolved), outgoing(2, store.Resolved), outgoing(3, store.Resolved))
	mixed, _ := b.cut(10)
	b.save("t2", outgoing(5, store.Resolved))
	alone, _ := b.cut(10)
	b.save("t3", outgoing(7, store.Resolved), outgoing(8, store.Resolved))
	before := b.load(mixed)
	if n, err := b.results.Erase(b.Context(), "wx1", "oPLANTED_1"); n != 4 || err != nil { // 1, 3, 5, 7
		t.Errorf("Erase = %d, %v, want 4", n, err)
	}
	after := b.load(mixed)
	if got := cloudIDs(t, after); !slices.Equal(got, []string{"2"}) || after.Results != 1 {
		t.Errorf("the delivery holds %v, want what is left", got)
	}
	if before.MessageID() == after.MessageID() || before.MessageID() != mixed || strings.Contains(after.MessageID(), ".") {
		t.Errorf("ids %s and %s, want another one for other bytes", before.MessageID(), after.MessageID())
	}
	if _, err := b.deliveries.Load(b.Context(), alone); !errors.Is(err, store.ErrNoDelivery) {
		t.Errorf("a delivery of nobody else: %v, want it gone", err)
	}
	waiting, _ := b.cut(10)
	if got := cloudIDs(t, b.load(waiting)); !slices.Equal(got, []string{"8"}) {
		t.Errorf("what waited holds %v, want what is left", got)
	}
	if got := b.list(store.Filter{}); !slices.Contains(got, mixed) || slices.Contains(got, alone) {
		t.Errorf("List = %v", got)
	}
	if ttl := b.rdb.TTL(b.Context(), keyOf(t, b.rdb, mixed+":items")).Val(); ttl < 6*24*time.Hour {
		t.Errorf("the items end in %s", ttl)
	}
	// A late answer is neither stored nor delivered.
	b.save("t4", outgoing(9, store.Resolved))
	if id, _ := b.cut(10); id != "" {
		t.Errorf("what is erased is delivered: %v", cloudIDs(t, b.load(id)))
	}
}

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

// Everything that is kept for delivery has an end, whatever order things come in.
func TestDeliveries_EverythingEnds(t *testing.T) {
	b := newOutboxBed(t)
	b.save("t1", outgoing(1, store.Resolved), outgoing(2, store.Resolved))
	id, _ := b.cut(1)
	if err := b.deliveries.Settle(b.Context(), id, store.DeliveryPending, time.Now(), &store.Attempt{}, true); err != nil {
		t.Fatal(err)
	}
	for _, key := range b.rdb.Keys(b.Context(), "*").Val() {
		index := strings.HasSuffix(key, ":deliveries") || strings.HasSuffix(key, ":due") || strings.HasSuffix(key, ":outlets") || strings.HasSuffix(key, ":apps")
		if ttl := b.rdb.TTL(b.Context(), key).Val(); ttl <= 0 && !index {
			t.Errorf("%s never ends", key)
		}
	}
}

func TestEndpoints(t *testing.T) {
	b := newOutboxBed(t)
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
	if state, err = b.deliveries.Endpoint(b.Context(), "orders"); err != nil || state.Shut.IsZero() || state != (store.EndpointState{Shut: state.Shut}) {
		t.Errorf("Endpoint = %+v, %v, want nothing known, and one attempt first", state, err)
	}
}

// Whatever is claimed, saved, asked for again and erased by whichever task, the outbox holds what the model says.
func TestDeliveries_AnyCalls_AsTheModel(t *testing.T) {
	eachStore(t, func(t *testing.T, b *outboxBed) {
		storetest.RunOutbox(t, b.results, func(ctx context.Context, appID, endpoint string) (all []json.RawMessage, err error) {
			b.handOver()
			for left := 1; left > 0; {
				var id string
				if id, left, err = b.deliveries.Cut(ctx, appID, endpoint, 3); err != nil || id == "" {
					return all, err
				}
				d, err := b.deliveries.Load(ctx, id)
				if err != nil {
					return nil, err
				}
				all = append(all, d.Items...)
			}
			return all, nil
		})
	})
}

// Whatever is saved, repeated, cut and erased in whatever order: every end that was written once is in one delivery
// once, and nothing of an erased person is in any.
func TestDeliveries_EveryEndInOneDelivery(t *testing.T) {
	eachStore(t, deliveriesEveryEndInOneDelivery)
}

func deliveriesEveryEndInOneDelivery(t *testing.T, b *outboxBed) {
	run := 0
	rapid.Check(t, func(rt *rapid.T) {
		run++
		person := func(n int) string { return fmt.Sprintf("o%d-%d", run, n%3) }
		want, erased := map[string]bool{}, map[string]bool{}
		next := 0
		var cuts []string
		rt.Repeat(map[string]func(*rapid.T){
			"save": func(rt *rapid.T) {
				var records []store.Record
				for range rapid.IntRange(1, 5).Draw(rt, "n") {
					next++
					rec := outgoing(next, rapid.SampledFrom([]store.Status{store.Resolved, store.Failed, store.Expired}).Draw(rt, "status"))
					rec.CloudID, rec.OpenID = fmt.Sprintf("73_%d_%d", run, next), person(next)
					records = append(records, rec)
					if !erased[rec.OpenID] {
						want[rec.CloudID] = true
					}
				}
				for range rapid.IntRange(1, 2).Draw(rt, "times") {
					b.save(fmt.Sprintf("t%d-%d", run, next), records...)
				}
			},
			"cut": func(rt *rapid.T) {
				if id, _ := b.cut(rapid.IntRange(1, 4).Draw(rt, "max")); id != "" {
					cuts = append(cuts, id)
				}
			},
			"erase": func(rt *rapid.T) {
				who := rapid.IntRange(0, 2).Draw(rt, "who")
				if _, err := b.results.Erase(b.Context(), "wx1", person(who)); err != nil {
					rt.Fatal(err)
				}
				erased[person(who)] = true
				for id := range want {
					var r, n int
					if _, err := fmt.Sscanf(id, "73_%d_%d", &r, &n); err == nil && person(n) == person(who) {
						delete(want, id)
					}
				}
			},
		})
		for left := 1; left > 0; {
			var id string
			if id, left = b.cut(100); id != "" {
				cuts = append(cuts, id)
			}
		}
		got := map[string]bool{}
		for _, id := range cuts {
			d, err := b.deliveries.Load(b.Context(), id)
			if errors.Is(err, store.ErrNoDelivery) {
				continue
			}
			if err != nil || len(d.Items) != d.Results {
				rt.Fatalf("Load = %+v, %v", d, err)
			}
			for _, item := range d.Items {
				var rec store.Record
				if err := json.Unmarshal(item, &rec); err != nil {
					rt.Fatal(err)
				}
				if got[rec.CloudID] {
					rt.Fatalf("%s is delivered twice", rec.CloudID)
				}
				got[rec.CloudID] = true
			}
		}
		for id := range want {
			if !got[id] {
				rt.Fatalf("%s is not delivered", id)
			}
		}
		if len(got) != len(want) {
			rt.Fatalf("%d are delivered, want %d", len(got), len(want))
		}
	})
}

// While Redis is away, what PostgreSQL has saved waits there; then it goes out once, also if a process dies after Redis has
// it and before it is deleted.
func TestPostgresOutbox_RedisIsAway_ThenADeath(t *testing.T) {
	redis := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
	rdb := redis.Client(t)
	deliveries := store.NewDeliveries(rdb)
	dsn := pgtest.Database(t)
	p := openPostgres(t, dsn, time.Hour, store.WithOutbox(deliveries))
	b := &outboxBed{T: t, rdb: rdb, results: p, deliveries: deliveries}
	b.save("t1", outgoing(1, store.Resolved))
	redis.Kill()
	if err := p.Save(t.Context(), "t2", []store.Record{outgoing(2, store.Resolved), outgoing(3, store.Failed)}); err != nil {
		t.Fatal(err)
	}
	conn := connect(t, dsn)
	if err := p.HandOver(t.Context(), nil); err == nil || count(t, conn, "cloudidq_outbox") != 2 {
		t.Errorf("HandOver = %v, want an error, and the two ends where they were", err)
	}
	redis.Restart()
	// The connection dies between Redis' answer and the end of the transaction.
	dying := &afterScript{do: func() {
		execute(t, conn, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle in transaction'")
	}}
	rdb.AddHook(dying)
	if err := p.HandOver(t.Context(), nil); err == nil || count(t, conn, "cloudidq_outbox") != 2 {
		t.Errorf("HandOver = %v, want an error, and the two ends where they were", err)
	}
	dying.do = nil
	if n := rdb.LLen(t.Context(), keyOf(t, rdb, ":o:orders")).Val(); n != 3 {
		t.Fatalf("%d results have come to Redis, want 3: nothing is proved", n)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	told := make(chan int, 10)
	go func() {
		ended <- p.Run(ctx, slog.New(slog.DiscardHandler), func(appID, endpoint string, n int) {
			if appID != "wx1" || endpoint != "orders" {
				t.Errorf("told of %s and %s", appID, endpoint)
			}
			told <- n
		})
	}()
	if n := <-told; n != 2 {
		t.Errorf("told of %d results, want 2", n)
	}
	if n := count(t, conn, "cloudidq_outbox"); n != 0 {
		t.Errorf("%d ends are left", n)
	}
	if err := p.Save(t.Context(), "t3", []store.Record{outgoing(4, store.Resolved)}); err != nil {
		t.Fatal(err)
	}
	if n := <-told; n != 1 {
		t.Errorf("told of %d results, want 1", n)
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("Run = %v", err)
	}
	id, left := b.cut(10)
	if got := cloudIDs(t, b.load(id)); !slices.Equal(got, []string{"1", "2", "3", "4"}) || left != 0 {
		t.Errorf("the delivery holds %v, want each once", got)
	}
	if keys := rdb.Keys(t.Context(), "*:x").Val(); len(keys) != 0 {
		t.Errorf("Redis still holds %v", keys)
	}
}

// An end that was saved before its person's erasure and comes after it, as over a connection that hung, is not delivered;
// one that the store has saved since is, also if it was accepted before.
func TestPostgresOutbox_EndThatComesBehindAnErasure(t *testing.T) {
	b := newOutboxBed(t)
	rec := outgoing(1, store.Resolved)
	if _, err := b.results.Erase(t.Context(), rec.AppID, rec.OpenID); err != nil {
		t.Fatal(err)
	}
	for n, saved := range []time.Time{time.Now().Add(-time.Second), time.Now().Add(time.Second)} {
		if err := b.deliveries.Append(t.Context(), int64(n), rec, saved); err != nil {
			t.Fatal(err)
		}
		if waits := int(b.rdb.Exists(t.Context(), strings.TrimSuffix(keyOf(t, b.rdb, ":x"), "x")+"o:orders").Val()); waits != n {
			t.Errorf("saved at %v: %d lists wait, want %d", saved, waits, n)
		}
	}
}

// afterScript does something behind every pipeline with a script.
type afterScript struct{ do func() }

func (h *afterScript) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (h *afterScript) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (h *afterScript) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := next(ctx, cmds)
		if h.do != nil && strings.HasPrefix(cmds[0].Name(), "eval") {
			h.do()
		}
		return err
	}
}
