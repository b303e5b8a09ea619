package activity

import (
	"math"
	"slices"
	"time"
)

// Latencies counts durations in buckets. The bounds of the buckets grow by the square root of
// two, from a millisecond to six minutes, so a quantile is off by one bucket at most. Counts of
// several processes can be added. The n-th number counts durations up to latencyBounds[n];
// zeros at the end are omitted.
type Latencies []int64

// latencyBounds are the upper bounds of the buckets. The last bucket also counts longer
// durations.
var latencyBounds = func() (bounds [38]time.Duration) {
	for i := range bounds {
		bounds[i] = time.Duration(float64(time.Millisecond) * math.Pow(2, float64(i)/2))
	}
	return bounds
}()

// count counts one duration. A negative duration, from clocks that differ, counts in the first
// bucket.
func (l *Latencies) count(d time.Duration) {
	at, _ := slices.BinarySearch(latencyBounds[:], d)
	at = min(at, len(latencyBounds)-1)
	l.grow(at + 1)
	(*l)[at]++
}

// add adds the counts of other.
func (l *Latencies) add(other Latencies) {
	other = other[:min(len(other), len(latencyBounds))] // the list in Redis may have been modified externally
	l.grow(len(other))
	for i, n := range other {
		(*l)[i] += n
	}
}

// grow extends the list to n numbers.
func (l *Latencies) grow(n int) {
	if missing := n - len(*l); missing > 0 {
		*l = append(*l, make(Latencies, missing)...)
	}
}

// Quantile returns the duration that the share q (0 to 1) of all counted durations did not
// exceed. It interpolates within a bucket. It returns false if nothing has been counted.
func (l Latencies) Quantile(q float64) (time.Duration, bool) {
	var all int64
	for _, n := range l {
		all += n
	}
	if all <= 0 {
		return 0, false
	}
	// Find the bucket that holds the rank, and interpolate between its bounds.
	rank, below := q*float64(all), 0.0
	for i, n := range l {
		if n > 0 && below+float64(n) >= rank {
			var low time.Duration
			if i > 0 {
				low = latencyBounds[i-1]
			}
			return low + time.Duration(float64(latencyBounds[i]-low)*(rank-below)/float64(n)), true
		}
		below += float64(n)
	}
	return latencyBounds[len(l)-1], true
}
