package webhook

import (
	"math/rand/v2"
	"time"
)

// schedule is the wait before each attempt after the first: those of Standard Webhooks, which end after 75 hours.
var schedule = [...]time.Duration{
	5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour, 10 * time.Hour, 14 * time.Hour,
	20 * time.Hour, 24 * time.Hour,
}

// MaxAttempts is how often a delivery is tried.
const MaxAttempts = len(schedule) + 1

// jitter spreads deliveries that failed together: a fifth, to either side.
const jitter = 5

// kept is for how long a receiver may put off its delivery whatever the schedule has: its minute or its hour is over then.
const kept = time.Hour

// Wait is how long after its n-th failed attempt (from 1) a delivery is tried again, and false after the last one. A
// receiver that asks for more time gets it, up to an hour, or to twice the schedule's. So all waits together stay below
// the seven days for which a delivery is kept.
func Wait(n int, retryAfter time.Duration) (time.Duration, bool) {
	if n < 1 || n > len(schedule) {
		return 0, false
	}
	base := schedule[n-1]
	spread := base - base/jitter + rand.N(2*base/jitter)
	return max(spread, min(retryAfter, max(kept, 2*base))), true
}

const (
	// disableAfter is how long an endpoint may do nothing but fail before it is disabled.
	disableAfter = 5 * 24 * time.Hour
	// disableApart is how long after the first failure there must have been another, so that one outage of ours does not
	// disable an endpoint that was hardly used.
	disableApart = 12 * time.Hour
)

// Disable reports whether an endpoint that has done nothing but fail since first is to be disabled by a failure now.
// previous is the failure before this one.
func Disable(first, previous, now time.Time) bool {
	return !first.IsZero() && now.Sub(first) >= disableAfter && previous.Sub(first) >= disableApart
}
