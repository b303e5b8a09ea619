package store_test

import (
	"fmt"
	"testing"
	"time"

	"cloudidq/internal/pgtest"
	"cloudidq/internal/redistest"
	"cloudidq/internal/seal/sealtest"
	"cloudidq/store"
)

// Records saved before there was a keyset stay unsealed until they expire. InspectSealing counts
// these and no others.
func TestInspectSealing(t *testing.T) {
	rdb := redistest.Start(t).Client(t)
	keyset, _, _ := sealtest.Keysets(t)
	sealed := store.NewRedis(rdb, time.Hour, store.Sealed(keyset))
	fillUnsealed(t, store.NewRedis(rdb, time.Hour), sealed)
	// Add a list whose key is as long as a record's.
	list := store.Keys("wx1", "73_x")[0]
	if err := rdb.RPush(t.Context(), list[:len(list)-22]+"o:abcdefghijklmnopqrst", "{").Err(); err != nil {
		t.Fatal(err)
	}
	if got, err := store.InspectSealing(t.Context(), rdb); err != nil || got != (store.Sealing{Seen: 5, Unsealed: 2}) {
		t.Errorf("InspectSealing = %+v, %v, want 2 of 5 records unsealed", got, err)
	}
}

func TestInspectPostgres_Unsealed(t *testing.T) {
	dsn := pgtest.Database(t)
	keyset, _, _ := sealtest.Keysets(t)
	fillUnsealed(t, openPostgres(t, dsn, time.Hour), openPostgres(t, dsn, time.Hour, store.Sealed(keyset)))
	if got, err := store.InspectPostgres(t.Context(), dsn); err != nil || got.Sealing != (store.Sealing{Seen: 5, Unsealed: 2}) {
		t.Errorf("InspectPostgres = %+v, %v, want 2 of 5 records unsealed", got, err)
	}
}

// fillUnsealed saves two records unsealed, three sealed, and a tombstone.
func fillUnsealed(t *testing.T, unsealed, sealed store.Results) {
	t.Helper()
	for i, results := range []store.Results{unsealed, unsealed, sealed, sealed, sealed, sealed} {
		rec := sealedRecord()
		rec.CloudID, rec.OpenID = fmt.Sprint("73_", i), fmt.Sprint("o", i)
		if err := results.Save(t.Context(), "t", []store.Record{rec}); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := sealed.Erase(t.Context(), "wx1", "o5"); n != 1 || err != nil {
		t.Fatalf("Erase = %d, %v", n, err)
	}
}
