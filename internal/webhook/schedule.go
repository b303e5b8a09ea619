package webhook

import (
	"math/rand/v2"
	"time"
)

// schedule is the wait before each attempt after the first. The waits are those of Standard
// Webhooks, about 75 hours in total.
var schedule = [...]time.Duration{
	5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour, 10 * time.Hour, 14 * time.Hour,
	20 * time.Hour, 24 * time.Hour,
}

// MaxAttempts is the maximum number of attempts of a delivery.
const MaxAttempts = len(schedule) + 1

// jitter is the divisor of the random part of a wait: a fifth of the wait, up or down. It
// spreads deliveries that failed at the same time.
const jitter = 5

// alwaysHonored is the longest wait that a receiver can always request, even where the schedule has
// a shorter one. An hour covers rate limits per minute and per hour.
const alwaysHonored = time.Hour

// Wait returns the wait after the n-th failed attempt of a delivery, counted from 1. It reports
// false after the last attempt.
//
// A receiver may request a longer wait by retryAfter. It gets up to an hour, or up to twice the
// wait of the schedule if that is longer. So the sum of all waits stays below seven days, the
// retention time of a delivery.
func Wait(n int, retryAfter time.Duration) (time.Duration, bool) {
	if n < 1 || n > len(schedule) {
		return 0, false
	}
	base := schedule[n-1]
	spread := base - base/jitter + rand.N(2*base/jitter)
	return max(spread, min(retryAfter, max(alwaysHonored, 2*base))), true
}

const (
	// disableAfter is how long an endpoint may fail without a success before it is disabled.
	disableAfter = 5 * 24 * time.Hour
	// disableApart is how long after the first failure another failure must have happened. Without
	// it, a single outage of cloudidq could disable an endpoint that gets few deliveries.
	disableApart = 12 * time.Hour
)

// Disable reports whether a failure at time now disables an endpoint. first is the first
// failure since its last success, and previous is the failure before this one.
func Disable(first, previous, now time.Time) bool {
	return !first.IsZero() && now.Sub(first) >= disableAfter && previous.Sub(first) >= disableApart
}
