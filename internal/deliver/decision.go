package deliver

import (
	"fmt"
	"math/rand/v2"
	"time"

	"cloudidq/internal/attempt"
	"cloudidq/internal/webhook"
	"cloudidq/store"
)

// This file alone decides what follows from an attempt, for the delivery, its task and its
// endpoint.
//
//	answer of an endpoint         delivery          task
//	2xx                           delivered         done
//	410                           held              done; endpoint disabled, an operator replays
//	other                         pending           failure; retried after webhook.Wait
//	other, only failures for 5 d  held              done; endpoint disabled
//	other, last attempt           exhausted         archived; an operator replays
//	none: circuit open, no slot   pending           done; in its endpoint's wait list (waitlist.go)
//	none: store away, no key      pending           retried soon

// decision is what happens to a delivery.
type decision struct {
	state   store.DeliveryState
	delay   time.Duration // until the next attempt, if pending
	reason  string        // why the delivery was not made
	disable string        // why the endpoint is disabled; empty = it is not
	// attempt is what is recorded of the attempt; nil = none was made.
	attempt *store.Attempt
}

// decide decides what happens to a delivery after its n-th attempt has failed. before is the
// state of its endpoint before the failure, as EndpointFailed returns it.
func decide(n int, a webhook.Attempt, before store.EndpointState, now time.Time) decision {
	dec := decision{reason: fmt.Sprintf("attempt %d: %s", n, a.Class)}
	if a.Status != 0 {
		dec.reason = fmt.Sprintf("attempt %d: %s (HTTP %d)", n, a.Class, a.Status)
	}
	var again bool
	dec.delay, again = webhook.Wait(n, a.RetryAfter)
	switch {
	case a.Class == webhook.Gone:
		dec.state, dec.disable = store.DeliveryHeld, "it answered 410"
	case webhook.Disable(before.FirstFailure.Time, before.LastFailure.Time, now):
		dec.state, dec.disable = store.DeliveryHeld, "it has done nothing but fail for five days"
	case again:
		dec.state = store.DeliveryPending
	default:
		dec.state = store.DeliveryExhausted
	}
	return dec
}

// err returns what the handler returns to asynq.
func (dec decision) err() error {
	switch dec.state {
	case store.DeliveryPending:
		return &attempt.SnoozeError{Reason: dec.reason, Delay: dec.delay, Failure: true}
	case store.DeliveryExhausted:
		return attempt.Archive(dec.reason + "; no attempts left, see cloudidq deliveries replay")
	default:
		return nil
	}
}

// If an endpoint takes no deliveries, its circuit opens for all of its deliveries.
const (
	circuitTrips = 5 // consecutive attempts without a usable answer, see takesDeliveries
	minOpen      = 30 * time.Second
	maxOpen      = 2 * time.Minute
	// maxRetryAfter is the longest Retry-After of an endpoint that is respected.
	maxRetryAfter = time.Hour
	// probeFor is the time from one probe to the next if the first brings no result. It is
	// longer than an attempt.
	probeFor = 45 * time.Second
)

// circuitOpenFor returns how long an endpoint's circuit stays open after a failure. before.InRow
// counts this failure. The time is at least minOpen. It grows with the time since the first
// failure, up to maxOpen. A longer Retry-After is respected, up to maxRetryAfter. 0 = the circuit
// stays closed.
func circuitOpenFor(
	before store.EndpointState, retryAfter time.Duration, now time.Time,
) time.Duration {
	if before.InRow < circuitTrips {
		return 0
	}
	open := min(maxOpen, max(minOpen, now.Sub(before.FirstFailure.Time)/10))
	return max(open, min(retryAfter, maxRetryAfter))
}

// Delays of a delivery that was not attempted. A random part is added.
const (
	delaySoon  = time.Second
	delayLater = 30 * time.Second
)

// snoozeSoon requeues a delivery for trouble that should pass in seconds.
func snoozeSoon(reason string) error {
	return &attempt.SnoozeError{Reason: reason, Delay: delaySoon + rand.N(delaySoon)}
}

// snoozeLater requeues a delivery for trouble that an operator must fix.
func snoozeLater(reason string) error {
	return &attempt.SnoozeError{Reason: reason, Delay: delayLater + rand.N(delayLater/2)}
}
