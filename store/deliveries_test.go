package store_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"cloudidq/store"
)

// Saved results become deliveries in order, each once, and stay sealed in Redis.
func TestDeliveries_FromSaveToDelivery(t *testing.T) { eachStore(t, deliveriesFromSaveToDelivery) }

func deliveriesFromSaveToDelivery(t *testing.T, b *outboxFixture) {
	if id, left := b.cut(10); id != "" || left != 0 {
		t.Errorf("Cut of nothing = %q, %d", id, left)
	}
	pending := outgoing(9, store.Pending)
	silent := outgoing(8, store.Resolved)
	silent.Deliver = store.Outlet{}
	b.save("t1", outgoing(1, store.Resolved), outgoing(2, store.Expired), outgoing(3, store.Resolved), pending, silent)
	// Repeated, as after a lost answer: nothing is delivered twice.
	b.save("t1", outgoing(1, store.Resolved), outgoing(2, store.Expired))
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
		t.Errorf("the dump shows sealed data: %q", dump)
	}
	if _, err := store.NewDeliveries(b.rdb).Load(b.Context(), first); !errors.Is(err, store.ErrUnreadable) {
		t.Errorf("Load without the keyset = %v, want ErrUnreadable", err)
	}
}

// If a cloudID is requested again after a failure, its second final status is delivered too.
func TestDeliveries_EachResultOnce(t *testing.T) { eachStore(t, deliveriesEachResultOnce) }

func deliveriesEachResultOnce(t *testing.T, b *outboxFixture) {
	b.save("t1", outgoing(1, store.Expired))
	rec := outgoing(1, store.Resolved)
	rec.Status = store.Pending
	if _, err := b.results.Claim(b.Context(), store.Claim{AppID: "wx1", TaskID: "t2", For: time.Hour,
		Records: []store.Record{rec}}); err != nil {
		t.Fatal(err)
	}
	b.save("t2", outgoing(1, store.Resolved))
	// Too late: the first resolved record remains.
	b.save("t3", outgoing(1, store.Expired), outgoing(1, store.Resolved))
	id, _ := b.cut(10)
	if d := b.load(id); len(d.Items) != 2 || !strings.Contains(string(d.Items[0]), "expired") || !strings.Contains(string(d.Items[1]), "resolved") {
		t.Errorf("the delivery holds %s, want the two results", d.Items)
	}
}

// A cloudID fails under another openid, or under none, and is then resolved for its owner. An
// erasure of the owner between claim and save leaves nothing to deliver. An erasure of the
// other user leaves all.
func TestDeliveries_OwnerErasedBeforeTheSave_NothingIsDelivered(t *testing.T) {
	eachStore(t, deliveriesOwnerErasedBeforeTheSave)
}

func deliveriesOwnerErasedBeforeTheSave(t *testing.T, b *outboxFixture) {
	var mine []store.Record
	for n, previous := range []string{"oPrevious", ""} {
		failed := outgoing(n, store.Failed)
		failed.OpenID, failed.Deliver = previous, store.Outlet{}
		b.save("t1", failed)
		rec := outgoing(n, store.Resolved)
		rec.OpenID = fmt.Sprint("oOwner", n)
		mine = append(mine, rec)
		rec.Status = store.Pending
		claim := store.Claim{AppID: "wx1", TaskID: "t2", For: time.Hour, Records: []store.Record{rec}}
		if got, err := b.results.Claim(b.Context(), claim); err != nil || got[0].State != store.Claimed {
			t.Fatalf("Claim = %v, %v", got, err)
		}
	}
	for _, openID := range []string{"oOwner0", "oPrevious"} {
		if _, err := b.results.Erase(b.Context(), "wx1", openID); err != nil {
			t.Fatal(err)
		}
	}
	b.save("t2", mine...)
	id, _ := b.cut(10)
	if got := cloudIDs(t, b.load(id)); !slices.Equal(got, []string{"1"}) {
		t.Errorf("the delivery holds %v, want only the results of other users", got)
	}
}

// An endpoint may receive another JSON object instead of the record.
func TestDeliveries_Result(t *testing.T) { eachStore(t, deliveriesResult) }

func deliveriesResult(t *testing.T, b *outboxFixture) {
	const want = `{"cloud_id":"73_<a>","url":"/of/the/record"}`
	rec := outgoing(1, store.Resolved)
	rec.Deliver.Result = json.RawMessage(want)
	b.save("t1", rec)
	id, _ := b.cut(10)
	if d := b.load(id); len(d.Items) != 1 || string(d.Items[0]) != want {
		t.Errorf("the result is %s, want %s", d.Items, want)
	}
	for _, result := range []string{`"text"`, `{"open":`, `{}{}`, "AAAA"} {
		rec := outgoing(2, store.Resolved)
		rec.Deliver.Result = json.RawMessage(result)
		if err := b.results.Save(t.Context(), "t2", []store.Record{rec}); err == nil {
			t.Errorf("Save with the result %s = nil, want an error", result)
		}
	}
}

// An attempt changes state, count and due time. A delivered delivery never changes again.
func TestDeliveries_RecordAttempt(t *testing.T) { eachStore(t, deliveriesRecordAttempt) }

func deliveriesRecordAttempt(t *testing.T, b *outboxFixture) {
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
	record := func(state store.DeliveryState, next time.Time, status int) {
		if err := b.deliveries.RecordAttempt(b.Context(), id, state, next, &store.Attempt{At: store.At(now), Status: status, Class: "refused", DurationMS: 7}, true); err != nil {
			t.Fatal(err)
		}
	}
	for range 25 {
		record(store.DeliveryPending, now.Add(time.Hour), 500)
	}
	if d := b.load(id); d.Tried != 25 || len(d.Attempts) != 20 || d.Attempts[0].Status != 500 || !d.Next.After(now) || len(d.Items) != 1 {
		t.Errorf("Load = %+v", d)
	}
	if got := due(now.Add(2 * time.Hour)); !slices.Equal(got, []string{id}) {
		t.Errorf("Due = %v, want it", got)
	}
	record(store.DeliveryExhausted, time.Time{}, 500)
	if got := due(now.Add(99 * time.Hour)); len(got) != 0 {
		t.Errorf("Due = %v, want an exhausted one to rest", got)
	}
	if was, err := b.deliveries.Replay(b.Context(), id); was != store.DeliveryExhausted || err != nil {
		t.Errorf("Replay = %s, %v", was, err)
	}
	if d := b.load(id); d.State != store.DeliveryPending || d.Tried != 0 {
		t.Errorf("after Replay: %+v", d)
	}
	record(store.DeliveryDelivered, time.Time{}, 200)
	record(store.DeliveryPending, now, 500) // a late second worker
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

// Unknown and malformed ids are ErrNoDelivery.
func TestDeliveries_Unknown(t *testing.T) {
	b := newOutboxFixture(t)
	for _, id := range []string{"", "x", "msg_", "msg_0123abcd_" + strings.Repeat("0", 32), "msg_0123abcd_" + strings.Repeat("}", 32)} {
		if _, err := b.deliveries.Load(b.Context(), id); !errors.Is(err, store.ErrNoDelivery) {
			t.Errorf("Load(%q) = %v", id, err)
		}
		if _, err := b.deliveries.Replay(b.Context(), id); !errors.Is(err, store.ErrNoDelivery) {
			t.Errorf("Replay(%q) = %v", id, err)
		}
	}
	// A late attempt does not recreate an erased delivery.
	id := "msg_0123abcd_" + strings.Repeat("0", 32)
	if err := b.deliveries.RecordAttempt(b.Context(), id, store.DeliveryPending, time.Now(), &store.Attempt{}, true); err != nil {
		t.Errorf("RecordAttempt = %v", err)
	}
	if keys := b.rdb.Keys(b.Context(), "*").Val(); len(keys) != 0 {
		t.Errorf("RecordAttempt made %v", keys)
	}
}

// An erasure removes a user's results from waiting items and deliveries, and changes the
// message id.
func TestDeliveries_Erase(t *testing.T) { eachStore(t, deliveriesErase) }

func deliveriesErase(t *testing.T, b *outboxFixture) {
	b.save("t1", outgoing(1, store.Resolved), outgoing(2, store.Resolved), outgoing(3, store.Resolved))
	mixed, _ := b.cut(10)
	b.save("t2", outgoing(5, store.Resolved))
	alone, _ := b.cut(10)
	b.save("t3", outgoing(7, store.Resolved), outgoing(8, store.Resolved))
	before := b.load(mixed)
	// The user has results 1, 3, 5 and 7.
	if n, err := b.results.Erase(b.Context(), "wx1", "oPLANTED_1"); n != 4 || err != nil {
		t.Errorf("Erase = %d, %v, want 4", n, err)
	}
	after := b.load(mixed)
	if got := cloudIDs(t, after); !slices.Equal(got, []string{"2"}) || after.Results != 1 {
		t.Errorf("the delivery has %v, want the remaining results", got)
	}
	if before.MessageID() == after.MessageID() || before.MessageID() != mixed || strings.Contains(after.MessageID(), ".") {
		t.Errorf("ids %s and %s, want another one for other bytes", before.MessageID(), after.MessageID())
	}
	if _, err := b.deliveries.Load(b.Context(), alone); !errors.Is(err, store.ErrNoDelivery) {
		t.Errorf("a delivery without remaining results: %v, want it removed", err)
	}
	waiting, _ := b.cut(10)
	if got := cloudIDs(t, b.load(waiting)); !slices.Equal(got, []string{"8"}) {
		t.Errorf("the waiting results are %v, want the remaining ones", got)
	}
	if got := b.list(store.Filter{}); !slices.Contains(got, mixed) || slices.Contains(got, alone) {
		t.Errorf("List = %v", got)
	}
	if ttl := b.rdb.TTL(b.Context(), keyOf(t, b.rdb, mixed+":items")).Val(); ttl < 6*24*time.Hour {
		t.Errorf("the items expire in %s", ttl)
	}
	// A result that arrives late for an erased user is neither stored nor delivered.
	b.save("t4", outgoing(9, store.Resolved))
	if id, _ := b.cut(10); id != "" {
		t.Errorf("erased results are delivered: %v", cloudIDs(t, b.load(id)))
	}
}

// Every key of the outbox expires, whatever the order of calls. Only the indexes of an app
// remain.
func TestDeliveries_EverythingExpires(t *testing.T) {
	b := newOutboxFixture(t)
	b.save("t1", outgoing(1, store.Resolved), outgoing(2, store.Resolved))
	id, _ := b.cut(1)
	if err := b.deliveries.RecordAttempt(b.Context(), id, store.DeliveryPending, time.Now(), &store.Attempt{}, true); err != nil {
		t.Fatal(err)
	}
	for _, key := range b.rdb.Keys(b.Context(), "*").Val() {
		index := strings.HasSuffix(key, ":deliveries") || strings.HasSuffix(key, ":due") || strings.HasSuffix(key, ":outlets") || strings.HasSuffix(key, ":apps")
		if ttl := b.rdb.TTL(b.Context(), key).Val(); ttl <= 0 && !index {
			t.Errorf("%s never expires", key)
		}
	}
}
