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

// Webhook is an endpoint that results are delivered to.
type Webhook struct {
	Name     string
	Sender   sender
	Thin     bool // ids and links instead of records
	BatchMax int  // results in one delivery
	// Admits reports whether results of an app may be sent there; nil = those of every app.
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

// endpoint is a Webhook at work: it has a bound on its attempts at once, so that one that hangs leaves slots to the others.
type endpoint struct {
	Webhook
	slots chan struct{}
	lined atomic.Bool // deliveries may wait in its line
}

// newEndpoints gives each endpoint half of the queue's slots at most, if there are several.
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

// enter takes a slot, and reports false if none is free.
func (e *endpoint) enter() (leave func(), ok bool) {
	select {
	case e.slots <- struct{}{}:
		return func() { <-e.slots }, true
	default:
		return nil, false
	}
}

// free is how many slots are.
func (e *endpoint) free() int { return cap(e.slots) - len(e.slots) }

// outlets says where the results of an app go: to the endpoint that a task names, or to the app's.
type outlets func(appID, named string) store.Outlet

// outletsOf are outlets by the endpoints that are known, and the name of each app's own.
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
		// A task may name an endpoint that another worker knows, or that comes with the next start.
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
