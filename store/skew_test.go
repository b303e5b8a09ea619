package store_test

import (
	"errors"
	"testing"
	"time"

	"cloudidq/store"
)

// The way to a server and back must not be taken for a difference of clocks, nor one slow answer spoil the others.
func TestSkew_MiddleOfTheShortestWay(t *testing.T) {
	clock := time.Unix(1_800_000_000, 0) // this machine's
	ways := []struct{ there, back time.Duration }{{4 * time.Second, 0}, {50 * time.Millisecond, 50 * time.Millisecond}, {0, 7 * time.Second}}
	ahead, err := store.Skew(func() time.Time { return clock }, func() (time.Time, error) {
		way := ways[0]
		ways = ways[1:]
		clock = clock.Add(way.there)
		server := clock.Add(-3 * time.Second)
		clock = clock.Add(way.back)
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
