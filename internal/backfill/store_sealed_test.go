package backfill_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cloudidq/internal/backfill"
	"cloudidq/internal/seal/sealtest"
	"cloudidq/store"
)

// No cloudID is readable in Redis, and every key expires.
func TestBackfill_NothingReadable(t *testing.T) {
	b := newStoreFixture(t)
	l := b.create()
	b.load(&l, window(&l, 1, 100, 1))
	b.begin(&l, window(&l, 0, 3))
	b.report(0, backfill.Counts{Resolved: 1})
	keys := b.rdb.Keys(t.Context(), "*").Val()
	if len(keys) != 7 {
		t.Errorf("keys = %v", keys)
	}
	for _, key := range keys {
		dump := b.rdb.Dump(t.Context(), key).Val()
		if strings.Contains(key+dump, "PLANTED") || !strings.HasPrefix(key, "cloudidq:{backfill}:") {
			t.Errorf("%s contains an id", key)
		}
		if ttl := b.rdb.PTTL(t.Context(), key).Val(); ttl < 24*time.Hour || ttl > 25*time.Hour {
			t.Errorf("%s expires in %s, want a day after the records", key, ttl)
		}
	}
	_, _, pruned := sealtest.Keysets(t)
	for name, other := range map[string]*backfill.Store{
		"another keyset": backfill.NewStore(b.rdb, time.Hour, pruned),
		"no keyset":      backfill.NewStore(b.rdb, time.Hour, nil),
	} {
		if _, _, err := other.CloudIDs(t.Context(), &l.Backfill, 0, 10); !errors.Is(err, store.ErrUnreadable) {
			t.Errorf("CloudIDs with %s = %v, want ErrUnreadable", name, err)
		}
	}
	// A chunk that is copied to another place cannot be opened there.
	key := "cloudidq:{backfill}:" + b.id + ":c:"
	b.rdb.HSet(t.Context(), key+"1", "ids", b.rdb.HGet(t.Context(), key+"0", "ids").Val())
	if _, _, err := b.CloudIDs(t.Context(), &l.Backfill, 0, 10); !errors.Is(err, store.ErrUnreadable) {
		t.Errorf("CloudIDs with a moved chunk = %v, want ErrUnreadable", err)
	}
	// Chunks written without a keyset stay readable. A chunk whose retention is over is
	// omitted.
	plain := &storeFixture{T: t, rdb: b.rdb, Store: backfill.NewStore(b.rdb, time.Hour, nil),
		id: backfill.NewID()}
	l = plain.create()
	plain.load(&l, window(&l, 0, 2, 1))
	b.rdb.Del(t.Context(), "cloudidq:{backfill}:"+plain.id+":c:0")
	ids, _, err := b.CloudIDs(t.Context(), &l.Backfill, 0, 10)
	if diff := cmp.Diff([]string{"73_PLANTED_0_1_0"}, ids); diff != "" || err != nil {
		t.Errorf("CloudIDs: %v (-want +got):\n%s", err, diff)
	}
}
