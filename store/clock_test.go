package store_test

import (
	"testing"
	"time"

	"cloudidq/internal/pgtest"
	"cloudidq/store"
)

// A claim lapses when the server's clock says so, not when those of the callers do: here theirs stand still.
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

// An erasure happens at a moment of the server's clock: what a machine of the same time has accepted before is refused,
// though the clock of the machine that erases is years behind.
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

// A process of the former version goes on beside the new schema: it calls the functions with moments of its own clock, an
// hour behind here, and the server's clock counts.
func TestPostgres_CallsOfTheFormerVersion_ByTheServersClock(t *testing.T) {
	dsn := pgtest.Database(t)
	results := openPostgres(t, dsn, time.Hour)
	conn := connect(t, dsn)
	app, cloud, person := store.Hashes("wx1", "73_1", "o1")
	behind := time.Now().Add(-time.Hour).UnixMilli()
	var state int
	err := conn.QueryRow(t.Context(), "SELECT o_state FROM cloudidq_claim($1::bigint[], $2, $3, $4, $5, $6, $7, $8, $9, $10)", []int64{1}, app,
		[]byte("task-old"), behind, behind+60_000, time.Hour, [][]byte{cloud}, [][]byte{person}, []int64{behind}, [][]byte{[]byte(`{}`)}).Scan(&state)
	if err != nil || state != 0 {
		t.Fatalf("claim = %d, %v, want it claimed", state, err)
	}
	rec := pendingRecord("wx1", "73_1")
	rec.OpenID = "o1"
	if got, err := results.Claim(t.Context(), claimOf("b", rec)); err != nil || got[0].State != store.Busy {
		t.Errorf("claim beside it = %v, %v, want busy", got, err)
	}
	var erased int
	if err := conn.QueryRow(t.Context(), "SELECT cloudidq_erase($1::bigint, $2, $3, $4, $5, $6)", int64(1), app, person, behind, time.Hour, time.Hour).
		Scan(&erased); err != nil || erased != 1 {
		t.Errorf("erase = %d, %v, want the record", erased, err)
	}
	rec.CloudID, rec.AcceptedAt = "73_2", store.At(time.Now().Add(-time.Minute)) // after what that process takes for the moment
	if got, err := results.Claim(t.Context(), claimOf("b", rec)); err != nil || got[0].State != store.Erased {
		t.Errorf("what was accepted before = %v, %v, want it erased", got, err)
	}
}
