package store_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"cloudidq/internal/redistest"
	"cloudidq/internal/seal/sealtest"
	"cloudidq/store"
)

func pendingRecord(app, id string) store.Record {
	return store.Record{AppID: app, CloudID: id, Status: store.Pending}
}

func claimOf(task string, records ...store.Record) store.Claim {
	return store.Claim{AppID: records[0].AppID, TaskID: task, For: time.Hour, Records: records}
}

func TestKeys(t *testing.T) {
	got := store.Keys("wx1234567890abcdef", "73_a", "73_b")
	// These come from sha256sum and basenc --base64url. A change would lose every stored record.
	want := []string{"cloudidq:{0fd24ae4}:KT3caqIaMEupMWX4pAxXSQ", "cloudidq:{0fd24ae4}:z-Ht0oJHfXtAGcoWzo1hkw"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Keys (-want +got):\n%s", diff)
	}
}

func TestRedis_NoIDInKeys_TTLInMilliseconds(t *testing.T) {
	rdb := redistest.Start(t).Client(t)
	results := store.NewRedis(rdb, 100_500*time.Millisecond)
	rec := full()
	rec.AppID, rec.OpenID, rec.CloudID = "wx-secret", "o-secret", "73_secret"
	if err := results.Save(t.Context(), "task-secret", []store.Record{rec}); err != nil {
		t.Fatal(err)
	}
	keys := rdb.Keys(t.Context(), "*").Val()
	slices.Sort(keys)
	if len(keys) != 2 || strings.Contains(keys[0]+keys[1], "secret") || len(keys[0]) != 42 || len(keys[1]) != 44 {
		t.Fatalf("keys = %q, want one of 42 characters, and the key of its user, without ids", keys)
	}
	if ttl := rdb.PTTL(t.Context(), keys[0]).Val(); ttl <= 0 || ttl > 100_500*time.Millisecond {
		t.Errorf("PTTL = %v, want at most 100.5s", ttl)
	}
}

// trips counts round trips.
type trips struct{ n int }

func (h *trips) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h *trips) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error { h.n++; return next(ctx, cmd) }
}

func (h *trips) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error { h.n++; return next(ctx, cmds) }
}

// delivered returns records as failed, to be delivered to an endpoint.
func delivered(records []store.Record) []store.Record {
	final := slices.Clone(records)
	for i := range final {
		final[i].Status, final[i].Error = store.Failed, &store.Error{Message: "no"}
		final[i].Deliver = store.Outlet{Endpoint: "orders"}
	}
	return final
}

func TestRedis_OneRoundTripPerCall(t *testing.T) {
	rdb := redistest.Start(t).Client(t)
	keyset, _, _ := sealtest.Keysets(t)
	results := store.NewRedis(rdb, time.Hour, store.Sealed(keyset))
	var many, ofThree []store.Record
	var ids []string
	for i := range 300 {
		ids = append(ids, fmt.Sprint(i))
		many = append(many, pendingRecord("wx1", ids[i]))
		ofThree = append(ofThree, pendingRecord(fmt.Sprint("wx", i%3), ids[i]))
	}
	calls := map[string]func() error{
		"Claim":              func() error { _, err := results.Claim(t.Context(), claimOf("task", many...)); return err },
		"Save":               func() error { return results.Save(t.Context(), "task", many) },
		"Save of three apps": func() error { return results.Save(t.Context(), "task", ofThree) },
		"Save, delivered":    func() error { return results.Save(t.Context(), "task", delivered(many)) },
		"Lookup":             func() error { _, err := results.Lookup(t.Context(), "wx1", ids); return err },
		"Claim of nothing":   func() error { _, err := results.Claim(t.Context(), store.Claim{}); return err },
		"Save of nothing":    func() error { return results.Save(t.Context(), "task", nil) },
		"Lookup of nothing":  func() error { _, err := results.Lookup(t.Context(), "wx1", nil); return err },
		"Save of a bad one":  func() error { _ = results.Save(t.Context(), "task", []store.Record{{}}); return nil },
		"Claim of a bad one": func() error { _, _ = results.Claim(t.Context(), claimOf("task", store.Record{})); return nil },
		"Save, one bad of 2": func() error {
			_ = results.Save(t.Context(), "t", append(many[:1:1], store.Record{AppID: "x"}))
			return nil
		},
		"Claim, all Busy now": func() error { _, err := results.Claim(t.Context(), claimOf("other", many...)); return err },
	}
	want := map[string]int{"Claim": 1, "Save": 1, "Save of three apps": 1, "Save, delivered": 1, "Lookup": 1, "Claim, all Busy now": 1}
	for name, call := range calls { // load the scripts into the server
		if err := call(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	count := &trips{}
	rdb.AddHook(count)
	for name, call := range calls {
		count.n = 0
		if err := call(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if count.n != want[name] {
			t.Errorf("%s took %d round trips, want %d", name, count.n, want[name])
		}
	}
}

func TestRedis_ServerRestarted_ScriptsLoadedAgain(t *testing.T) {
	srv := redistest.Start(t, "--appendonly", "yes")
	results := store.NewRedis(srv.Client(t), time.Hour)
	rec := full()
	two := []store.Record{rec, pendingRecord("wx2", "1")}
	for range 2 {
		if err := results.Save(t.Context(), "task", two); err != nil {
			t.Fatalf("Save: %v", err)
		}
		got, err := results.Claim(t.Context(), claimOf("other", pendingRecord(rec.AppID, rec.CloudID)))
		if diff := cmp.Diff([]store.ClaimResult{{State: store.Done, Record: rec}}, got); err != nil || diff != "" {
			t.Fatalf("Claim: %v (-want +got):\n%s", err, diff)
		}
		srv.Restart()
	}
}

func TestRedis_Down_ErrorSaysWhatWasDone(t *testing.T) {
	srv := redistest.Start(t)
	rdb := redis.NewClient(&redis.Options{Addr: srv.Addr, MaxRetries: -1, DialerRetries: 1})
	t.Cleanup(func() { _ = rdb.Close() })
	results := store.NewRedis(rdb, time.Hour)
	srv.Kill()

	records := []store.Record{pendingRecord("wx-secret", "73_secret"), pendingRecord("wx-secret2", "73_secret")}
	_, claimErr := results.Claim(t.Context(), claimOf("task", records[0]))
	_, lookupErr := results.Lookup(t.Context(), "wx-secret", []string{"73_secret"})
	for want, err := range map[string]error{
		"claiming 1 records: ":   claimErr,
		"looking up 1 records: ": lookupErr,
		"saving 1 records: ":     results.Save(t.Context(), "task", records[:1]),
		"saving 2 records: ":     results.Save(t.Context(), "task", records),
	} {
		if err == nil || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("error = %v, want %q and no id", err, want)
		}
	}
	var netErr *net.OpError
	if !errors.As(claimErr, &netErr) {
		t.Errorf("Claim = %v, want the network's error inside", claimErr)
	}
}

func TestRedis_TTLTooShort_Error(t *testing.T) {
	rdb := redistest.Start(t).Client(t)
	results := store.NewRedis(rdb, time.Microsecond)
	if err := results.Save(t.Context(), "task", []store.Record{full()}); err == nil {
		t.Error("Save = nil error")
	}
	if n := rdb.DBSize(t.Context()).Val(); n != 0 {
		t.Errorf("%d keys, want none", n)
	}
}

// A value at a record's key that this package did not write counts as no record.
func TestRedis_InvalidValue_CountsAsMissing(t *testing.T) {
	rdb := redistest.Start(t).Client(t)
	_, mini := startMini(t)
	const wrongRank = "wrong rank"
	rec := full()
	rec.CloudID = wrongRank
	sound, err := store.Encode("task-a", rec)
	if err != nil {
		t.Fatal(err)
	}
	header := string(sound[:store.HeaderLen])
	for name, client := range map[string]*redis.Client{"redis": rdb, "miniredis": mini} {
		results := store.NewRedis(client, time.Hour)
		for kind, value := range map[string]any{
			"empty": "", "short": "2", "text": strings.Repeat("x", 100), "list": []string{"x"},
			"header only": header, "broken body": header + `{"appid":`, wrongRank: "1" + string(sound[1:]),
			"claimed, broken": "0" + header[1:17] + "9999999999999{",
		} {
			put := func(id string) {
				key := store.Keys("wx1", id)[0]
				if list, ok := value.([]string); ok {
					client.RPush(t.Context(), key, list)
					return
				}
				client.Set(t.Context(), key, value, 0)
			}
			t.Run(name+"/"+kind, func(t *testing.T) {
				rec := full()
				rec.CloudID = kind
				put(kind)
				got, err := results.Lookup(t.Context(), "wx1", []string{kind})
				if err != nil || got[0].Status != "" {
					t.Fatalf("Lookup = %v, %v, want unknown", got, err)
				}

				pending := pendingRecord("wx1", kind)
				claimed, err := results.Claim(t.Context(), claimOf("task-a", pending))
				want := []store.ClaimResult{{State: store.Claimed, Record: pending}}
				if diff := cmp.Diff(want, claimed); err != nil || diff != "" {
					t.Fatalf("Claim: %v (-want +got):\n%s", err, diff)
				}
				if err := results.Save(t.Context(), "task-a", []store.Record{rec}); err != nil {
					t.Fatal(err)
				}
				got, err = results.Lookup(t.Context(), "wx1", []string{kind})
				if diff := cmp.Diff([]store.Record{rec}, got); err != nil || diff != "" {
					t.Errorf("Lookup: %v (-want +got):\n%s", err, diff)
				}
			})
		}
	}
}

func TestRedis_InvalidValue_OverwrittenBySave(t *testing.T) {
	rdb := redistest.Start(t).Client(t)
	results := store.NewRedis(rdb, time.Hour)
	key := store.Keys("wx1", "73_1")[0]
	for _, put := range []func() error{
		func() error { return rdb.Set(t.Context(), key, strings.Repeat("2", 29), 0).Err() },
		func() error { return rdb.HSet(t.Context(), key, "k", "v").Err() },
	} {
		if err := rdb.Del(t.Context(), key).Err(); err != nil {
			t.Fatal(err)
		}
		if err := put(); err != nil {
			t.Fatal(err)
		}
		want := full()
		if err := results.Save(t.Context(), "task", []store.Record{want}); err != nil {
			t.Fatal(err)
		}
		got, err := results.Lookup(t.Context(), "wx1", []string{"73_1"})
		if diff := cmp.Diff([]store.Record{want}, got); err != nil || diff != "" {
			t.Errorf("Lookup: %v (-want +got):\n%s", err, diff)
		}
		if ttl := rdb.PTTL(t.Context(), key).Val(); ttl <= 0 {
			t.Errorf("PTTL = %v, want one", ttl)
		}
	}
}

// The hash of a user who returns every day never expires, but the fields of their expired records
// are removed.
func TestRedis_UserWhoReturnsOften_FieldsStayBounded(t *testing.T) {
	t.Parallel()
	rdb := redistest.Start(t).Client(t)
	mini, embedded := startMini(t)
	for name, b := range map[string]struct {
		rdb *redis.Client
		age func(key string)
	}{
		"Redis":     {rdb, func(key string) { rdb.Del(t.Context(), key) }},
		"Miniredis": {embedded, func(key string) { mini.Del(key) }},
	} {
		t.Run(name, func(t *testing.T) {
			results, deliveries := store.NewRedis(b.rdb, time.Hour), store.NewDeliveries(b.rdb)
			const days, perDay, live = 40, 30, 100
			var ids []string
			most := int64(0)
			for day := range days {
				var mine []store.Record
				for i := range perDay {
					rec := full()
					rec.AppID, rec.OpenID, rec.CloudID = "wx1", "o-often", fmt.Sprint("73_", day, "_", i)
					rec.Deliver = store.Outlet{Endpoint: "orders"}
					ids, mine = append(ids, rec.CloudID), append(mine, rec)
				}
				if err := results.Save(t.Context(), "task", mine); err != nil {
					t.Fatal(err)
				}
				id, _, err := deliveries.Cut(t.Context(), "wx1", "orders", perDay)
				if err != nil {
					t.Fatal(err)
				}
				b.age("cloudidq:{" + strings.Split(id, "_")[1] + "}:d:" + id)
				for len(ids) > live { // the oldest expire
					b.age(store.Keys("wx1", ids[0])[0])
					ids = ids[1:]
				}
				users := b.rdb.Keys(t.Context(), "cloudidq:{*}:p:*").Val()
				if len(users) != 1 {
					t.Fatalf("users = %v", users)
				}
				most = max(most, b.rdb.HLen(t.Context(), users[0]).Val())
			}
			if most > 4*live {
				t.Errorf("the user had %d fields, for %d records at a time", most, live)
			}
			if n, err := results.Erase(t.Context(), "wx1", "o-often"); err != nil || n != live {
				t.Errorf("Erase = %d, %v, want all %d records", n, err, live)
			}
		})
	}
}
