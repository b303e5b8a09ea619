package wechattest

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// AppStats is what a simulator has seen of one app.
type AppStats struct {
	Requests    int64     `json:"requests"`    // of getopendata with a good credential
	CloudIDs    int64     `json:"cloudids"`    // in the lists of those
	Answered    int64     `json:"answered"`    // items whose data was written completely
	TokenCalls  int64     `json:"token_calls"` // of endpoints that give tokens, with a good secret
	LastRequest time.Time `json:"last_request,omitzero"`
}

// AppStats returns the counters of one app as they are now.
func (s *Simulator) AppStats(appID string) AppStats {
	a := s.apps.of(appID)
	stats := AppStats{
		Requests: a.requests.Load(), CloudIDs: a.cloudIDs.Load(), Answered: a.answered.Load(), TokenCalls: a.tokenCalls.Load(),
	}
	if last := a.last.Load(); last != 0 {
		stats.LastRequest = time.Unix(0, last).UTC()
	}
	return stats
}

// appCounters are the atomics behind AppStats.
type appCounters struct {
	requests, cloudIDs, answered, tokenCalls atomic.Int64
	last                                     atomic.Int64 // Unix nanoseconds
}

// apps finds the counters and the faults of an app without a lock.
type apps struct {
	counters sync.Map                             // appid to *appCounters
	faults   atomic.Pointer[map[string]appFaults] // by appid, "" = all apps; replaced as a whole
	mu       sync.Mutex                           // held by who replaces it
}

// appFaults are faults that hold for a while.
type appFaults struct {
	dice  dice
	until time.Time // zero: until changed
}

func (a *apps) of(appID string) *appCounters {
	if c, ok := a.counters.Load(appID); ok {
		return c.(*appCounters)
	}
	c, _ := a.counters.LoadOrStore(appID, new(appCounters))
	return c.(*appCounters)
}

// SetFaults lets other faults strike the requests of one app, "" for all apps, in the place of [Config.Faults]: for d,
// or until changed if d is 0. nil gives an app back to Config.Faults. Faults of a cloudID are its property and cannot
// be set: a second simulator would know other truths.
func (s *Simulator) SetFaults(appID string, faults Faults, d time.Duration) error {
	if err := faults.validate(); err != nil {
		return err
	}
	for _, info := range FaultNames() {
		if _, set := faults[info.Name]; set && info.Per == "cloudid" {
			return fmt.Errorf("fault %q is one of a cloudID, which cannot be set while the simulator runs", info.Name)
		}
	}
	s.apps.mu.Lock()
	defer s.apps.mu.Unlock()
	next := make(map[string]appFaults)
	if old := s.apps.faults.Load(); old != nil {
		for app, f := range *old {
			next[app] = f
		}
	}
	delete(next, appID)
	if faults != nil {
		f := appFaults{dice: newDice(s.cfg.Seed, faults)}
		if d > 0 {
			f.until = s.cfg.Now().Add(d)
		}
		next[appID] = f
	}
	s.apps.faults.Store(&next)
	return nil
}

// diceFor returns the dice that decide about a request of an app now.
func (s *Simulator) diceFor(appID string, now time.Time) *dice {
	set := s.apps.faults.Load()
	if set == nil {
		return &s.dice
	}
	for _, key := range [...]string{appID, ""} {
		if f, ok := (*set)[key]; ok && (f.until.IsZero() || now.Before(f.until)) {
			return &f.dice
		}
	}
	return &s.dice
}
