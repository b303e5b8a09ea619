package store_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"cloudidq/internal/redistest"
	"cloudidq/store"
	"cloudidq/store/storetest"
)

// For any sequence of claims, saves, repeated requests and erasures by any tasks, the outbox
// contains what the model predicts.
func TestDeliveries_AnyCalls_AsTheModel(t *testing.T) {
	t.Parallel()
	eachStore(t, deliveriesAnyCalls)
	t.Run("RedisUnsealed", func(t *testing.T) {
		rdb := redistest.Start(t).Client(t)
		deliveriesAnyCalls(t, &outboxFixture{T: t, rdb: rdb, results: store.NewRedis(rdb, time.Hour), deliveries: store.NewDeliveries(rdb)})
	})
}

// deliveriesAnyCalls compares the outbox of b with the model.
func deliveriesAnyCalls(t *testing.T, b *outboxFixture) {
	storetest.RunOutbox(t, b.results, func(ctx context.Context, appID, endpoint string) (all []json.RawMessage, err error) {
		b.relay()
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
}

// For any sequence of saves, repetitions, cuts and erasures, each result that is written once
// is in one delivery, once. No delivery contains a result of an erased user.
func TestDeliveries_EveryResultInOneDelivery(t *testing.T) {
	t.Parallel()
	eachStore(t, deliveriesEveryResultInOneDelivery)
}

func deliveriesEveryResultInOneDelivery(t *testing.T, b *outboxFixture) {
	run := 0
	rapid.Check(t, func(rt *rapid.T) {
		run++
		user := func(n int) string { return fmt.Sprintf("o%d-%d", run, n%3) }
		want, erased := map[string]bool{}, map[string]bool{}
		next := 0
		var cuts []string
		rt.Repeat(map[string]func(*rapid.T){
			"save": func(rt *rapid.T) {
				var records []store.Record
				for range rapid.IntRange(1, 5).Draw(rt, "n") {
					next++
					rec := outgoing(next, rapid.SampledFrom([]store.Status{store.Resolved, store.Failed, store.Expired}).Draw(rt, "status"))
					rec.CloudID, rec.OpenID = fmt.Sprintf("73_%d_%d", run, next), user(next)
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
				if _, err := b.results.Erase(b.Context(), "wx1", user(who)); err != nil {
					rt.Fatal(err)
				}
				erased[user(who)] = true
				for id := range want {
					var r, n int
					if _, err := fmt.Sscanf(id, "73_%d_%d", &r, &n); err == nil && user(n) == user(who) {
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
		got := b.delivered(rt, cuts)
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

// delivered returns the cloudIDs in deliveries. It fails the test if one is delivered twice.
func (b *outboxFixture) delivered(rt *rapid.T, deliveries []string) map[string]bool {
	got := map[string]bool{}
	for _, id := range deliveries {
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
	return got
}
