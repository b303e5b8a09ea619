package wechattest

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// AppStats counts what a simulator has received for one app.
type AppStats struct {
	Requests    int64     `json:"requests"`    // getopendata requests with a valid credential
	CloudIDs    int64     `json:"cloudids"`    // cloudIDs in those requests
	Answered    int64     `json:"answered"`    // items whose data was written completely
	TokenCalls  int64     `json:"token_calls"` // calls of token endpoints with a valid secret
	LastRequest time.Time `json:"last_request,omitzero"`
}

// AppStats returns the current counters of one app.
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

// apps holds the counters and the faults of the apps. Reads need no lock.
type apps struct {
	counters sync.Map                             // appid to *appCounters
	faults   atomic.Pointer[map[string]appFaults] // by appid, "" for all apps; replaced as a whole
	mu       sync.Mutex                           // held while faults is replaced
}

// appFaults are faults that apply for a limited time.
type appFaults struct {
	dice  dice
	until time.Time // zero means until changed
}

// of returns the counters of an app, which it creates at the first call.
func (a *apps) of(appID string) *appCounters {
	if c, ok := a.counters.Load(appID); ok {
		return c.(*appCounters)
	}
	c, _ := a.counters.LoadOrStore(appID, new(appCounters))
	return c.(*appCounters)
}

// SetFaults replaces [Config.Faults] for the requests of one app, or of all apps if appID is "".
// The new faults apply for d, or until the next change if d is 0. If faults is nil,
// Config.Faults apply again. Faults of a cloudID are a property of the cloudID and cannot be
// set: a second simulator with the same seed would know another truth.
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
	// Readers hold no lock, so the map is copied and replaced as a whole.
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

// diceFor returns the dice for a request of an app at the time now.
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
