package deliver

import (
	"context"
	"sync/atomic"
	"time"

	"cloudidq/internal/webhook"
	"cloudidq/store"
)

// Webhook is the configuration of an endpoint that receives results.
type Webhook struct {
	Name     string
	Sender   Sender
	Thin     bool // send ids and links instead of records
	BatchMax int  // results in one delivery, at least 1
	// Admits reports whether results of an app may be sent to the endpoint. nil admits every
	// app.
	Admits func(appID string) bool
}

// admits reports whether results of an app may be sent to the endpoint.
func (h *Webhook) admits(appID string) bool { return h.Admits == nil || h.Admits(appID) }

// Sender makes one attempt to send a message. [webhook.Sender] implements it.
type Sender interface {
	Send(ctx context.Context, id string, body []byte) webhook.Attempt
}

// Store is the part of [store.Deliveries] that a Deliverer uses.
type Store interface {
	Unfinished(ctx context.Context, by time.Time, all bool) ([]store.Unfinished, error)
	Cut(ctx context.Context, appID, endpoint string, maximum int) (id string, left int, err error)
	Due(
		ctx context.Context, appID string, by time.Time, again time.Duration, limit int,
	) ([]string, error)
	Load(ctx context.Context, id string) (store.Delivery, error)
	RecordAttempt(
		ctx context.Context, id string, state store.DeliveryState, next time.Time, a *store.Attempt, counts bool,
	) error
	Forget(ctx context.Context, id string) error
	Endpoint(ctx context.Context, name string) (store.EndpointState, error)
	EndpointOK(ctx context.Context, name string) error
	EndpointFailed(
		ctx context.Context, name string, answered bool, now time.Time,
	) (store.EndpointState, error)
	OpenCircuit(ctx context.Context, name string, until time.Time) error
	Probe(ctx context.Context, name string, now time.Time, hold time.Duration) (bool, error)
	Disable(ctx context.Context, name, reason string, now time.Time) error
	Park(ctx context.Context, endpoint, id string) error
	Parked(ctx context.Context, endpoint string) (int, error)
	Unpark(ctx context.Context, endpoint string, n int) ([]string, error)
}

// endpoint is a running Webhook. It limits its concurrent attempts, so an endpoint that hangs
// leaves slots for the others.
type endpoint struct {
	Webhook
	slots  chan struct{}
	parked atomic.Bool // deliveries may be on its wait list
}

// newEndpoints returns the endpoints by name. A single endpoint gets all slots of the queue. If
// there are several, each gets at most half of them.
func newEndpoints(hooks []Webhook, slots int) map[string]*endpoint {
	if len(hooks) > 1 {
		slots = max(1, slots/2)
	}
	endpoints := make(map[string]*endpoint, len(hooks))
	for _, hook := range hooks {
		endpoints[hook.Name] = &endpoint{Webhook: hook, slots: make(chan struct{}, slots)}
	}
	return endpoints
}

// enter takes a slot and returns the function that frees it. It reports false if no slot is
// free.
func (e *endpoint) enter() (leave func(), ok bool) {
	select {
	case e.slots <- struct{}{}:
		return func() { <-e.slots }, true
	default:
		return nil, false
	}
}

// free returns the number of free slots.
func (e *endpoint) free() int { return cap(e.slots) - len(e.slots) }

// Destination is the endpoint that receives an app's results, and the form in which it does.
// The zero Destination receives nothing.
type Destination struct {
	Endpoint string
	Thin     bool // it receives ids and links instead of records
}

// Outlet returns where to deliver a final record. traceparent names the operation that led to
// the record; empty = it is not traced.
func (d Destination) Outlet(rec *store.Record, traceparent string) store.Outlet {
	to := store.Outlet{Endpoint: d.Endpoint, Trace: traceparent}
	if d.Thin {
		to.Result = ThinResult(rec)
	}
	return to
}

// Destinations returns the destination of an app's results. named is the endpoint that a task
// names. If named is empty, the results go to the app's own endpoint.
type Destinations func(appID, named string) Destination

// NewDestinations returns the destinations for the configured endpoints. own returns the name of
// an app's own endpoint.
func NewDestinations(hooks []Webhook, own func(appID string) string) Destinations {
	thin := make(map[string]bool, len(hooks))
	for _, hook := range hooks {
		thin[hook.Name] = hook.Thin
	}
	return func(appID, named string) Destination {
		name := named
		if name == "" {
			name = own(appID)
		}
		// The name may be unknown here: another worker may know the endpoint, or the next start
		// may configure it.
		return Destination{Endpoint: name, Thin: thin[name]}
	}
}
