package store

import (
	"math"
	"slices"
	"time"
)

// Latencies counts durations by size, in steps of the square root of two from a millisecond to six minutes: a quantile is
// off by a step at most, and counts of several processes can be added. The n-th number counts what took up to
// latencyBounds[n]; zeros at the end are left out.
type Latencies []int64

// latencyBounds are the upper bounds. What took longer than the last is counted with it.
var latencyBounds = func() (bounds [38]time.Duration) {
	for i := range bounds {
		bounds[i] = time.Duration(float64(time.Millisecond) * math.Pow(2, float64(i)/2))
	}
	return bounds
}()

// count counts one duration. One below zero, by clocks that differ, counts as none.
func (l *Latencies) count(d time.Duration) {
	at, _ := slices.BinarySearch(latencyBounds[:], d)
	at = min(at, len(latencyBounds)-1)
	l.grow(at + 1)
	(*l)[at]++
}

func (l *Latencies) add(other Latencies) {
	other = other[:min(len(other), len(latencyBounds))] // what Redis holds may be anybody's
	l.grow(len(other))
	for i, n := range other {
		(*l)[i] += n
	}
}

func (l *Latencies) grow(n int) {
	if missing := n - len(*l); missing > 0 {
		*l = append(*l, make(Latencies, missing)...)
	}
}

// Quantile returns the duration that the share q of all (0 to 1) did not exceed, and false if there is none.
func (l Latencies) Quantile(q float64) (time.Duration, bool) {
	var all int64
	for _, n := range l {
		all += n
	}
	if all <= 0 {
		return 0, false
	}
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
