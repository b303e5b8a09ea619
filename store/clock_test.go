package store_test

import (
	"testing"
	"time"

	"cloudidq/internal/pgtest"
	"cloudidq/store"
)

// A claim lapses by the server's clock, not by the callers' clocks, which stand still here.
func TestRedis_ClaimLapses_ByTheServersClock(t *testing.T) {
	mini, rdb := startMini(t)
	results := store.NewRedis(rdb, time.Hour)
	clock := time.Date(2031, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, step := range []struct {
		at   time.Duration
		task string
		want store.ClaimState
	}{
		{0, "a", store.Claimed}, {0, "b", store.Busy}, {59 * time.Second, "b", store.Busy}, {60 * time.Second, "b", store.Claimed},
		{60 * time.Second, "a", store.Busy},
	} {
		mini.SetTime(clock.Add(step.at))
		claim := claimOf(step.task, pendingRecord("wx1", "73_1"))
		claim.For = time.Minute
		if got, err := results.Claim(t.Context(), claim); err != nil || got[0].State != step.want {
			t.Errorf("after %v, task %s: %v, %v, want %v", step.at, step.task, got, err, step.want)
		}
	}
}

// The time of an erasure is by the server's clock. A cloudID accepted before it is refused, even if
// the clock of the machine that erases is years behind.
func TestRedis_Erasure_ByTheServersClock(t *testing.T) {
	mini, rdb := startMini(t)
	results := store.NewRedis(rdb, time.Hour)
	clock := time.Date(2031, 1, 1, 0, 0, 0, 0, time.UTC)
	mini.SetTime(clock)
	if _, err := results.Erase(t.Context(), "wx1", "o1"); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		accepted time.Duration
		want     store.ClaimState
	}{"73_before": {-time.Second, store.Erased}, "73_after": {time.Second, store.Claimed}} {
		rec := pendingRecord("wx1", name)
		rec.OpenID, rec.AcceptedAt = "o1", store.At(clock.Add(tt.accepted))
		if got, err := results.Claim(t.Context(), claimOf("a", rec)); err != nil || got[0].State != tt.want {
			t.Errorf("%s: %v, %v, want %v", name, got, err, tt.want)
		}
	}
}

// A process of the previous version still works with the new schema. It calls the functions with
// times by its own clock, here an hour behind, but the server's clock counts.
func TestPostgres_CallsOfThePreviousVersion_ByTheServersClock(t *testing.T) {
	dsn := pgtest.Database(t)
	results := openPostgres(t, dsn, time.Hour)
	conn := connect(t, dsn)
	app, cloud, user := store.Hashes("wx1", "73_1", "o1")
	behind := time.Now().Add(-time.Hour).UnixMilli()
	var state int
	err := conn.QueryRow(t.Context(), "SELECT o_state FROM cloudidq_claim($1::bigint[], $2, $3, $4, $5, $6, $7, $8, $9, $10)", []int64{1}, app,
		[]byte("task-old"), behind, behind+60_000, time.Hour, [][]byte{cloud}, [][]byte{user}, []int64{behind}, [][]byte{[]byte(`{}`)}).Scan(&state)
	if err != nil || state != 0 {
		t.Fatalf("claim = %d, %v, want it claimed", state, err)
	}
	rec := pendingRecord("wx1", "73_1")
	rec.OpenID = "o1"
	if got, err := results.Claim(t.Context(), claimOf("b", rec)); err != nil || got[0].State != store.Busy {
		t.Errorf("claim by another task = %v, %v, want busy", got, err)
	}
	var erased int
	if err := conn.QueryRow(t.Context(), "SELECT cloudidq_erase($1::bigint, $2, $3, $4, $5, $6)", int64(1), app, user, behind, time.Hour, time.Hour).
		Scan(&erased); err != nil || erased != 1 {
		t.Errorf("erase = %d, %v, want the record", erased, err)
	}
	// This is later than the time by the clock of that process.
	rec.CloudID, rec.AcceptedAt = "73_2", store.At(time.Now().Add(-time.Minute))
	if got, err := results.Claim(t.Context(), claimOf("b", rec)); err != nil || got[0].State != store.Erased {
		t.Errorf("claim of a cloudID accepted before the erasure = %v, %v, want erased", got, err)
	}
}
