package store_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"cloudidq/store"
)

// commands returns how often Redis ran a command.
func (b *outboxFixture) commands(name string) int {
	b.Helper()
	_, stats, _ := strings.Cut(b.rdb.Info(b.Context(), "commandstats").Val(), "cmdstat_"+name+":calls=")
	count, _, _ := strings.Cut(stats, ",")
	n, _ := strconv.Atoi(count)
	return n
}

// unfinished returns the apps for which a scan finds work.
func (b *outboxFixture) unfinished(all bool) (apps []string) {
	b.Helper()
	found, err := b.deliveries.Unfinished(b.Context(), time.Now().Add(-time.Second), all)
	if err != nil {
		b.Fatal(err)
	}
	for _, u := range found {
		apps = append(apps, u.AppID)
	}
	slices.Sort(apps)
	return apps
}

// quiet moves the last change of all outboxes into the distant past.
func (b *outboxFixture) quiet() {
	b.Helper()
	for _, app := range b.rdb.ZRange(b.Context(), "cloudidq:{outbox}:fresh", 0, -1).Val() {
		b.rdb.ZAddXX(b.Context(), "cloudidq:{outbox}:fresh", redis.Z{Member: app, Score: float64(time.Now().Add(-time.Hour).UnixMilli())})
	}
}

func (b *outboxFixture) saveOf(appID string, n int) {
	b.Helper()
	rec := outgoing(n, store.Resolved)
	rec.AppID = appID
	b.save("task-"+appID, rec)
}

// deliver makes a delivery of an app's waiting results and marks it delivered.
func (b *outboxFixture) deliver(appID string) {
	b.Helper()
	id, _, err := b.deliveries.Cut(b.Context(), appID, "orders", 100)
	if err == nil {
		err = b.deliveries.RecordAttempt(b.Context(), id, store.DeliveryDelivered, time.Now(), nil, false)
	}
	if err != nil {
		b.Fatal(err)
	}
}

// A sweep costs as much as has changed, not as much as has ever existed. It queries none of 500
// apps with an empty outbox.
func TestUnfinished_IdleAppsCostNothing(t *testing.T) {
	eachStore(t, func(t *testing.T, b *outboxFixture) {
		const n = 500
		for i := range n {
			appID := fmt.Sprintf("wx%016d", i)
			b.saveOf(appID, i)
			b.deliver(appID)
		}
		b.quiet()
		if found := b.unfinished(false); len(found) != 0 {
			t.Fatalf("%d apps have work to do, want none", len(found))
		}
		before := b.commands("smembers") + b.commands("zrange") + b.commands("zcard")
		const scans = 10
		for range scans {
			b.unfinished(false)
		}
		if commands := b.commands("smembers") + b.commands("zrange") + b.commands("zcard") - before; commands > scans {
			t.Errorf("%d commands in %d scans of %d idle apps, want one each", commands, scans, n)
		}
		b.saveOf("wxnew", n)
		b.quiet()
		if found := b.unfinished(false); len(found) != 1 {
			t.Errorf("%v have work to do after one result was saved, want its app", found)
		}
	})
}

// Every process finds the work in an outbox at each step, however long the work waits.
func TestUnfinished_FindsTheWork(t *testing.T) {
	eachStore(t, func(t *testing.T, b *outboxFixture) {
		want := func(step string, apps ...string) {
			t.Helper()
			b.deliveries = store.NewDeliveries(b.rdb) // another process, which announced nothing
			for _, all := range []bool{false, true} {
				b.quiet()
				if found := b.unfinished(all); !slices.Equal(found, apps) {
					t.Errorf("%s: %v have work to do (all: %t), want %v", step, found, all, apps)
				}
			}
		}
		want("at first")
		mine := b.deliveries
		b.saveOf("wx1", 1)
		want("results wait", "wx1")
		want("results wait still", "wx1")
		id, _, err := b.deliveries.Cut(t.Context(), "wx1", "orders", 100)
		if err != nil {
			t.Fatal(err)
		}
		b.rdb.ZAddXX(t.Context(), "cloudidq:{"+id[4:12]+"}:due", redis.Z{Member: id, Score: float64(time.Now().Add(-time.Minute).UnixMilli())})
		want("a delivery is due", "wx1")
		b.deliveries = mine
		if err := b.deliveries.RecordAttempt(t.Context(), id, store.DeliveryPending, time.Now().Add(time.Hour), nil, false); err != nil {
			t.Fatal(err)
		}
		want("it is due in an hour")
		later := b.rdb.ZScore(t.Context(), "cloudidq:{outbox}:later", id[4:12]).Val()
		if in := time.Until(time.UnixMilli(int64(later))); in <= 0 || in > time.Minute {
			t.Errorf("it is checked again in %s, want at most a minute", in)
		}
		if err := b.deliveries.RecordAttempt(t.Context(), id, store.DeliveryHeld, time.Now(), nil, false); err != nil {
			t.Fatal(err)
		}
		b.rdb.ZAddXX(t.Context(), "cloudidq:{outbox}:later", redis.Z{Member: id[4:12], Score: 1})
		want("it is on hold")
		if n := b.rdb.ZCard(t.Context(), "cloudidq:{outbox}:later").Val(); n != 0 {
			t.Errorf("%d apps are checked later, want none", n)
		}
		b.deliveries = mine
		if _, err := b.deliveries.Replay(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		b.rdb.ZAddXX(t.Context(), "cloudidq:{"+id[4:12]+"}:due", redis.Z{Member: id, Score: 1})
		want("it is replayed", "wx1")
	})
}

// An outbox that changes while it is checked remains in fresh.
func TestUnfinished_ChangeDuringTheScan(t *testing.T) {
	b := newOutboxFixture(t)
	b.rdb.ZAdd(t.Context(), "cloudidq:{outbox}:fresh", redis.Z{Member: "00000001", Score: 1000}, redis.Z{Member: "00000002", Score: 2000})
	if err := b.deliveries.Looked(t.Context(), "00000001", "999", "00000002", "2000"); err != nil {
		t.Fatal(err)
	}
	if fresh := b.rdb.ZRange(t.Context(), "cloudidq:{outbox}:fresh", 0, -1).Val(); !slices.Equal(fresh, []string{"00000001"}) {
		t.Errorf("%v are in fresh, want the app that has changed meanwhile", fresh)
	}
}
