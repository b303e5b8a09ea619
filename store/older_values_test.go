package store_test

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"cloudidq/internal/redistest"
	"cloudidq/store"
)

// putOlder writes a record as an older version did: without a user in its value.
func putOlder(t *testing.T, rdb *redis.Client, task string, rec store.Record) {
	t.Helper()
	value, err := store.Encode(task, rec)
	if err != nil {
		t.Fatal(err)
	}
	key := store.Keys(rec.AppID, rec.CloudID)[0]
	if err := rdb.Set(t.Context(), key, value, time.Hour).Err(); err != nil {
		t.Fatal(err)
	}
	if rec.OpenID != "" {
		if err := rdb.HSet(t.Context(), store.UserKey(rec.AppID, rec.OpenID), key[len(key)-22:], "1").Err(); err != nil {
			t.Fatal(err)
		}
	}
}

// Values of an older version can be read, claimed by their task, and erased with their user. They
// move to another user when a task claims or saves them for that user.
func TestRedis_ValuesOfAnOlderVersion(t *testing.T) {
	for name, test := range map[string]func(*testing.T, *store.Redis, store.Record, store.Record){
		"ReadAndErased": func(t *testing.T, results *store.Redis, pending, failed store.Record) {
			wantRecords(t, results, pending, failed)
			wantErased(t, results, "o1", 2)
			wantRecords(t, results, store.Record{CloudID: pending.CloudID}, store.Record{CloudID: failed.CloudID})
		},
		"ClaimedAgain": func(t *testing.T, results *store.Redis, pending, failed store.Record) {
			again := pending
			again.Attempts = 0
			if got, err := results.Claim(t.Context(), claimOf("t", again)); err != nil || got[0].State != store.Claimed || got[0].Record.Attempts != 1 {
				t.Errorf("Claim = %v, %v, want the existing record", got, err)
			}
			wantRecords(t, results, pending, failed)
			wantErased(t, results, "o1", 2)
		},
		"ClaimedForAnotherUser": func(t *testing.T, results *store.Redis, pending, failed store.Record) {
			mine := []store.Record{pending, failed}
			for i := range mine {
				mine[i].OpenID, mine[i].Status, mine[i].Error, mine[i].FinishedAt, mine[i].Attempts = "o2", store.Pending, nil, store.Time{}, 0
			}
			if _, err := results.Claim(t.Context(), claimOf("u", mine...)); err != nil {
				t.Error(err)
			}
			wantErased(t, results, "o1", 0)
			wantRecords(t, results, mine...)
			wantErased(t, results, "o2", 2)
		},
		"SavedForAnotherUser": func(t *testing.T, results *store.Redis, pending, failed store.Record) {
			mine := []store.Record{failed, failed}
			mine[0].CloudID = pending.CloudID
			mine[0].OpenID, mine[1].OpenID = "o2", "o2"
			if err := results.Save(t.Context(), "u", mine); err != nil {
				t.Error(err)
			}
			wantErased(t, results, "o1", 0)
			wantRecords(t, results, mine...)
			wantErased(t, results, "o2", 2)
		},
	} {
		t.Run(name, func(t *testing.T) {
			rdb := redistest.Start(t).Client(t)
			pending, failed := pendingRecord("wx1", "73_p"), pendingRecord("wx1", "73_f")
			pending.OpenID, pending.Attempts = "o1", 1
			failed.OpenID, failed.Status, failed.Error = "o1", store.Failed, &store.Error{Code: 1, Message: "no"}
			failed.FinishedAt = store.At(time.Now())
			putOlder(t, rdb, "t", pending)
			putOlder(t, rdb, "t", failed)
			test(t, store.NewRedis(rdb, time.Hour), pending, failed)
		})
	}
}

func wantErased(t *testing.T, results store.Results, openID string, want int) {
	t.Helper()
	if n, err := results.Erase(t.Context(), "wx1", openID); n != want || err != nil {
		t.Errorf("Erase of %s = %d, %v, want %d", openID, n, err, want)
	}
}

// wantRecords looks up records and compares them with want. A record without a status must be
// unknown.
func wantRecords(t *testing.T, results store.Results, want ...store.Record) {
	t.Helper()
	for _, rec := range want {
		got, err := results.Lookup(t.Context(), "wx1", []string{rec.CloudID})
		if err != nil || got[0].Status != rec.Status || got[0].OpenID != rec.OpenID {
			t.Errorf("%s: %+v, %v, want %s of %s", rec.CloudID, got, err, rec.Status, rec.OpenID)
		}
	}
}
