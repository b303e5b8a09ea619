package store_test

import (
	"errors"
	"testing"
	"time"

	"cloudidq/store"
)

// A round trip must not count as a difference of clocks, and one slow answer must not falsify the
// result.
func TestSkew_MiddleOfTheShortestTrip(t *testing.T) {
	clock := time.Unix(1_800_000_000, 0) // this machine's
	trips := []struct{ out, back time.Duration }{
		{4 * time.Second, 0}, {50 * time.Millisecond, 50 * time.Millisecond}, {0, 7 * time.Second},
	}
	ahead, err := store.Skew(func() time.Time { return clock }, func() (time.Time, error) {
		trip := trips[0]
		trips = trips[1:]
		clock = clock.Add(trip.out)
		server := clock.Add(-3 * time.Second)
		clock = clock.Add(trip.back)
		return server, nil
	})
	if ahead != -3*time.Second || err != nil {
		t.Errorf("skew = %s, %v, want -3s", ahead, err)
	}
}

func TestSkew_NoAnswer(t *testing.T) {
	away := errors.New("away")
	if _, err := store.Skew(time.Now, func() (time.Time, error) { return time.Time{}, away }); !errors.Is(err, away) {
		t.Errorf("skew = %v, want %v", err, away)
	}
}
