package wechattest

import "sync/atomic"

// Stats counts what a simulator has received and done since it was created.
type Stats struct {
	Requests    int64            `json:"requests"`     // getopendata requests, including refused ones
	CloudIDs    int64            `json:"cloudids"`     // cloudIDs in those requests
	Answered    int64            `json:"answered"`     // items whose data was written completely
	Refused     int64            `json:"refused"`      // requests refused with a 4xxxx code, not by a fault
	Gone        int64            `json:"gone"`         // requests whose client disconnected before the answer was written
	Faults      map[string]int64 `json:"faults"`       // how often each fault struck, without those that never did
	TokenCalls  int64            `json:"token_calls"`  // calls of all token endpoints
	TokenForced int64            `json:"token_forced"` // successful calls with force_refresh
	MaxInFlight int64            `json:"max_in_flight"`
	MaxBatch    int64            `json:"max_batch"` // the longest cloudid_list
	Violations  Violations       `json:"violations"`
}

// Violations counts what a correct client never does. It is comparable. The zero value means no
// violations.
type Violations struct {
	// MixedOpenIDs counts requests that contain a genuine cloudID of their app which belongs to
	// another user than the openid.
	MixedOpenIDs int64 `json:"mixed_openids"`
	// AfterDeadline counts genuine items that arrived after their lifetime.
	AfterDeadline int64 `json:"after_deadline"`
	// AfterResolved counts items that arrived after an answer with their data had been written
	// completely. Concurrent requests before the first answer do not count, and neither do
	// repetitions after a lost answer.
	AfterResolved int64 `json:"after_resolved"`
}

// counters holds the atomics behind Stats.
type counters struct {
	requests, cloudIDs, answered, refused, gone atomic.Int64
	tokenCalls, tokenForced                     atomic.Int64
	inFlight, maxInFlight, maxBatch             atomic.Int64
	mixedOpenIDs, afterDeadline, afterResolved  atomic.Int64
	faults                                      [numFaults]atomic.Int64
}

// Stats returns the current counters. While requests are in flight, the counters may not be
// consistent with each other.
func (s *Simulator) Stats() Stats {
	c := &s.stats
	faults := make(map[string]int64)
	for i, info := range FaultNames() {
		if n := c.faults[i].Load(); n > 0 {
			faults[info.Name] = n
		}
	}
	return Stats{
		Requests:    c.requests.Load(),
		CloudIDs:    c.cloudIDs.Load(),
		Answered:    c.answered.Load(),
		Refused:     c.refused.Load(),
		Gone:        c.gone.Load(),
		Faults:      faults,
		TokenCalls:  c.tokenCalls.Load(),
		TokenForced: c.tokenForced.Load(),
		MaxInFlight: c.maxInFlight.Load(),
		MaxBatch:    c.maxBatch.Load(),
		Violations: Violations{
			MixedOpenIDs:  c.mixedOpenIDs.Load(),
			AfterDeadline: c.afterDeadline.Load(),
			AfterResolved: c.afterResolved.Load(),
		},
	}
}

// struck counts an injected fault.
func (c *counters) struck(f fault) { c.faults[f].Add(1) }

// enter counts the start of a request; leave counts its end.
func (c *counters) enter() {
	c.requests.Add(1)
	raise(&c.maxInFlight, c.inFlight.Add(1))
}

func (c *counters) leave() { c.inFlight.Add(-1) }

// raise sets m to v if m is lower.
func raise(m *atomic.Int64, v int64) {
	for {
		old := m.Load()
		if v <= old || m.CompareAndSwap(old, v) {
			return
		}
	}
}
