package wechattest

import "sync/atomic"

// Stats is what a simulator has seen and done since it was made.
type Stats struct {
	Requests    int64            `json:"requests"`     // of getopendata, also the refused ones
	CloudIDs    int64            `json:"cloudids"`     // in the lists of those requests
	Answered    int64            `json:"answered"`     // items whose data was written completely
	Refused     int64            `json:"refused"`      // requests refused for a reason of their own, no fault: 4xxxx
	Gone        int64            `json:"gone"`         // requests whose client left before the answer was written
	Faults      map[string]int64 `json:"faults"`       // how often each fault struck; those that never did are absent
	TokenCalls  int64            `json:"token_calls"`  // of all endpoints that give tokens
	TokenForced int64            `json:"token_forced"` // of those, successful ones with force_refresh
	MaxInFlight int64            `json:"max_in_flight"`
	MaxBatch    int64            `json:"max_batch"` // the longest list
	Violations  Violations       `json:"violations"`
}

// Violations counts what a correct client never does. It is comparable, and zero if all is well.
type Violations struct {
	// MixedOpenIDs are requests with a genuine cloudID of their app that belongs to another user than their openid.
	MixedOpenIDs int64 `json:"mixed_openids"`
	// AfterDeadline are genuine items that arrived after their lifetime.
	AfterDeadline int64 `json:"after_deadline"`
	// AfterResolved are items that came again although an answer with their data had been written completely. The
	// client that asked twice at once, before either answer, is not blamed, nor one whose answer was lost.
	AfterResolved int64 `json:"after_resolved"`
}

// counters are the atomics behind Stats.
type counters struct {
	requests, cloudIDs, answered, refused, gone atomic.Int64
	tokenCalls, tokenForced                     atomic.Int64
	inFlight, maxInFlight, maxBatch             atomic.Int64
	mixedOpenIDs, afterDeadline, afterResolved  atomic.Int64
	faults                                      [numFaults]atomic.Int64
}

// Stats returns the counters as they are now. While requests are under way they need not agree with each other.
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

// struck counts a fault that was injected.
func (c *counters) struck(f fault) { c.faults[f].Add(1) }

// enter counts a request that begins; leave ends it.
func (c *counters) enter() {
	c.requests.Add(1)
	raise(&c.maxInFlight, c.inFlight.Add(1))
}

func (c *counters) leave() { c.inFlight.Add(-1) }

// raise lifts m to v if it is lower.
func raise(m *atomic.Int64, v int64) {
	for {
		old := m.Load()
		if v <= old || m.CompareAndSwap(old, v) {
			return
		}
	}
}
