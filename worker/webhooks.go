package worker

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"cloudidq/internal/webhook"
	"cloudidq/store"
	"cloudidq/tasks"
)

// Webhook is the configuration of an endpoint that receives results.
type Webhook struct {
	Name     string
	Sender   sender
	Thin     bool // send ids and links instead of records
	BatchMax int  // results in one delivery, at least 1
	// Admits reports whether results of an app may be sent to the endpoint. nil admits every
	// app.
	Admits func(appID string) bool
}

// admits reports whether results of an app may be sent to the endpoint.
func (h *Webhook) admits(appID string) bool { return h.Admits == nil || h.Admits(appID) }

// sender is the part of [webhook.Sender] that the worker uses.
type sender interface {
	Send(ctx context.Context, id string, body []byte) webhook.Attempt
}

// deliveries is the part of [store.Deliveries] that the worker uses.
type deliveries interface {
	Unfinished(ctx context.Context, by time.Time, all bool) ([]store.Unfinished, error)
	Cut(ctx context.Context, appID, endpoint string, maximum int) (id string, left int, err error)
	Due(ctx context.Context, appID string, by time.Time, again time.Duration, limit int) ([]string, error)
	Load(ctx context.Context, id string) (store.Delivery, error)
	Settle(ctx context.Context, id string, state store.DeliveryState, next time.Time, a *store.Attempt, counts bool) error
	Forget(ctx context.Context, id string) error
	Endpoint(ctx context.Context, name string) (store.EndpointState, error)
	EndpointOK(ctx context.Context, name string) error
	EndpointFailed(ctx context.Context, name string, answered bool, now time.Time) (store.EndpointState, error)
	Shut(ctx context.Context, name string, until time.Time) error
	Probe(ctx context.Context, name string, now time.Time, hold time.Duration) (bool, error)
	Disable(ctx context.Context, name, reason string, now time.Time) error
	LineUp(ctx context.Context, endpoint, id string) error
	InLine(ctx context.Context, endpoint string) (int, error)
	CallUp(ctx context.Context, endpoint string, n int) ([]string, error)
}

// endpoint is a running Webhook. It limits its concurrent attempts, so an endpoint that hangs
// leaves slots for the others.
type endpoint struct {
	Webhook
	slots chan struct{}
	lined atomic.Bool // deliveries may be on its wait list
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

// outlets is a function that returns the destination of an app's results. named is the endpoint
// that a task names. If named is empty, the results go to the app's own endpoint.
type outlets func(appID, named string) store.Outlet

// outletsOf returns the outlets for the configured endpoints. own returns the name of an app's
// own endpoint.
func outletsOf(hooks []Webhook, own func(appID string) string) outlets {
	thin := make(map[string]bool, len(hooks))
	for _, hook := range hooks {
		thin[hook.Name] = hook.Thin
	}
	return func(appID, named string) store.Outlet {
		name := named
		if name == "" {
			name = own(appID)
		}
		// The name may be unknown here: another worker may know the endpoint, or the next start
		// may configure it.
		return store.Outlet{Endpoint: name, Thin: thin[name]}
	}
}

func (h *Webhook) validate() error {
	if problem := tasks.NameProblem(h.Name); problem != "" {
		return fmt.Errorf("worker: the name of a webhook %s", problem)
	}
	if h.Sender == nil || h.BatchMax < 1 {
		return fmt.Errorf("worker: webhook %q: Sender must be set, and BatchMax be at least 1", h.Name)
	}
	return nil
}
