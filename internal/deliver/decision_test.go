package deliver

import (
	"testing"
	"time"

	"cloudidq/store"
)

// The circuit of an endpoint opens after circuitTrips failures in a row. It stays open longer
// the longer the endpoint fails, and as long as Retry-After says, up to an hour.
func TestCircuitOpenFor(t *testing.T) {
	now := time.Now()
	for name, tc := range map[string]struct {
		inRow                    int
		failing, requested, want time.Duration
	}{
		"the first":      {1, 0, time.Hour, 0},
		"one below":      {circuitTrips - 1, 72 * time.Hour, 0, 0},
		"at once":        {circuitTrips, 0, 0, 30 * time.Second},
		"stragglers":     {3 * circuitTrips, 20 * time.Second, 0, 30 * time.Second},
		"ten minutes":    {circuitTrips + 2, 10 * time.Minute, 0, time.Minute},
		"for days":       {1000, 72 * time.Hour, 0, 2 * time.Minute},
		"requests less":  {circuitTrips, 0, 10 * time.Second, 30 * time.Second},
		"requests more":  {circuitTrips, 0, 10 * time.Minute, 10 * time.Minute},
		"requests a day": {circuitTrips, 0, 24 * time.Hour, time.Hour},
		"answers, fails": {0, 72 * time.Hour, 0, 0},
	} {
		before := store.EndpointState{InRow: tc.inRow, FirstFailure: store.At(now.Add(-tc.failing))}
		if got := circuitOpenFor(before, tc.requested, now).Round(time.Second); got != tc.want {
			t.Errorf("%s: %s, want %s", name, got, tc.want)
		}
	}
}
