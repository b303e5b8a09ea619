package store_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"cloudidq/internal/redistest"
	"cloudidq/internal/seal/sealtest"
	"cloudidq/store"
	"cloudidq/store/storetest"
)

func TestRedisSealed_Contract(t *testing.T) {
	t.Parallel()
	rdb := redistest.Start(t).Client(t)
	keyset, _, _ := sealtest.Keysets(t)
	storetest.Run(t, func(_ *testing.T, ttl time.Duration) store.Results {
		return store.NewRedis(rdb, ttl, store.Sealed(keyset))
	})
}

// sealedRecord returns a resolved record whose data must never be stored unsealed.
func sealedRecord() store.Record {
	return store.Record{
		AppID: "wx1", OpenID: "oPLANTED", CloudID: "73_PLANTED", Status: store.Resolved, Kind: "phone", Reference: "rPLANTED",
		Data: json.RawMessage(`{"phoneNumber":"13PLANTED"}`), Attempts: 1, AcceptedAt: store.At(time.Now()), FinishedAt: store.At(time.Now()),
	}
}

func TestRedisSealed_NothingLegible(t *testing.T) {
	rdb := redistest.Start(t).Client(t)
	keyset, _, _ := sealtest.Keysets(t)
	sealed := store.NewRedis(rdb, time.Hour, store.Sealed(keyset))
	rec := sealedRecord()
	if _, err := sealed.Claim(t.Context(), store.Claim{AppID: "wx1", TaskID: "t", For: time.Hour,
		Records: []store.Record{{AppID: "wx1", OpenID: rec.OpenID, CloudID: rec.CloudID, Status: store.Pending}}}); err != nil {
		t.Fatal(err)
	}
	if err := sealed.Save(t.Context(), "t", []store.Record{rec}); err != nil {
		t.Fatal(err)
	}
	dump := dumpOf(t, rdb)
	if len(dump) < 100 || strings.Contains(dump, "PLANTED") {
		t.Errorf("the dump shows sealed data: %q", dump)
	}
	if _, err := store.NewRedis(rdb, time.Hour).Lookup(t.Context(), "wx1", []string{rec.CloudID}); !errors.Is(err, store.ErrUnreadable) {
		t.Errorf("Lookup without the keyset = %v, want ErrUnreadable", err)
	}
}

// dumpOf returns every key of Redis with its value, as text.
func dumpOf(t *testing.T, rdb *redis.Client) string {
	t.Helper()
	var all strings.Builder
	for it := rdb.Scan(t.Context(), 0, "*", 1000).Iterator(); it.Next(t.Context()); {
		value, err := rdb.Dump(t.Context(), it.Val()).Result()
		if err != nil && !errors.Is(err, redis.Nil) {
			t.Fatal(err)
		}
		all.WriteString(it.Val() + " " + value + "\n")
	}
	return all.String()
}

func TestRedisSealed_Rotation(t *testing.T) {
	rdb := redistest.Start(t).Client(t)
	first, rotated, pruned := sealtest.Keysets(t)
	with := func(k *store.Keyset) *store.Redis { return store.NewRedis(rdb, time.Hour, store.Sealed(k)) }
	old := sealedRecord()
	if err := with(first).Save(t.Context(), "t", []store.Record{old}); err != nil {
		t.Fatal(err)
	}
	if got, err := with(rotated).Lookup(t.Context(), "wx1", []string{old.CloudID}); err != nil || got[0].Status != store.Resolved {
		t.Errorf("after the rotation: %+v, %v, want the record", got, err)
	}
	recent := sealedRecord()
	recent.CloudID = "73_NEW"
	if err := with(rotated).Save(t.Context(), "t", []store.Record{recent}); err != nil {
		t.Fatal(err)
	}
	got, err := with(pruned).Lookup(t.Context(), "wx1", []string{old.CloudID, recent.CloudID})
	if !errors.Is(err, store.ErrUnreadable) || strings.Contains(err.Error(), "73_") {
		t.Errorf("after pruning: %v, want ErrUnreadable without an id", err)
	}
	if diff := cmp.Diff([]store.Record{{}, recent}, got); diff != "" {
		t.Errorf("after pruning (-want +got):\n%s", diff)
	}
	// A process that does not have the new key yet sees that the record is resolved, so it does not
	// request the cloudID again.
	claimed, err := with(first).Claim(t.Context(), store.Claim{AppID: "wx1", TaskID: "u", For: time.Hour,
		Records: []store.Record{{AppID: "wx1", CloudID: recent.CloudID, Status: store.Pending}}})
	if err != nil || claimed[0].State != store.Done || claimed[0].Record.Status != store.Resolved {
		t.Errorf("Claim with the old keyset = %+v, %v, want done", claimed, err)
	}
	// The hash of a user does not depend on the key: a rotation does not change it.
	if n, err := with(pruned).Erase(t.Context(), "wx1", old.OpenID); n != 2 || err != nil {
		t.Errorf("Erase = %d, %v, want both records", n, err)
	}
}

func TestRedisSealed_ReadsUnsealedRecords(t *testing.T) {
	rdb := redistest.Start(t).Client(t)
	keyset, _, _ := sealtest.Keysets(t)
	rec := sealedRecord()
	if err := store.NewRedis(rdb, time.Hour).Save(t.Context(), "t", []store.Record{rec}); err != nil {
		t.Fatal(err)
	}
	got, err := store.NewRedis(rdb, time.Hour, store.Sealed(keyset)).Lookup(t.Context(), "wx1", []string{rec.CloudID})
	if diff := cmp.Diff([]store.Record{rec}, got); diff != "" || err != nil {
		t.Errorf("Lookup = %v (-want +got):\n%s", err, diff)
	}
}

func TestRedisSealed_AValueMovedElsewhere_IsNoRecord(t *testing.T) {
	rdb := redistest.Start(t).Client(t)
	keyset, _, _ := sealtest.Keysets(t)
	sealed := store.NewRedis(rdb, time.Hour, store.Sealed(keyset))
	rec := sealedRecord()
	if err := sealed.Save(t.Context(), "t", []store.Record{rec}); err != nil {
		t.Fatal(err)
	}
	ks := store.Keys("wx1", rec.CloudID, "73_other")
	if err := rdb.Copy(t.Context(), ks[0], ks[1], 0, true).Err(); err != nil {
		t.Fatal(err)
	}
	if got, err := sealed.Lookup(t.Context(), "wx1", []string{"73_other"}); !errors.Is(err, store.ErrUnreadable) || got[0].Status != "" {
		t.Errorf("Lookup = %+v, %v, want nothing", got, err)
	}
}

func TestParseKeyset_QuotesNothing(t *testing.T) {
	if _, err := store.ParseKeyset("PLANTED"); err == nil || strings.Contains(err.Error(), "PLANTED") {
		t.Errorf("ParseKeyset = %v, want an error that quotes nothing", err)
	}
}
