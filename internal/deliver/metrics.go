package deliver

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"cloudidq/internal/webhook"
	"cloudidq/store"
)

// Values of the state label. The gauge of an endpoint is 1 for one of them, and 0 for the others.
const (
	endpointEnabled  = "enabled"
	endpointFailing  = "failing" // no success since its first failure
	endpointDisabled = "disabled"
)

var endpointStates = [...]string{endpointEnabled, endpointFailing, endpointDisabled}

// attemptBuckets are the histogram buckets of attempt durations, in seconds.
var attemptBuckets = []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}

// otherEndpoints is the label value of the endpoints outside the configuration.
const otherEndpoints = "other"

// metrics holds the metrics of deliveries. attempted and recorded accept a nil *metrics and do
// nothing then.
type metrics struct {
	endpoints map[string]struct{} // the configured ones, by name

	attempts   *prometheus.HistogramVec // endpoint, class
	deliveries *prometheus.CounterVec   // endpoint, state
	results    *prometheus.CounterVec   // endpoint
	endpoint   *prometheus.GaugeVec     // endpoint, state
	waiting    *prometheus.GaugeVec     // endpoint
}

// newMetrics creates the metrics and registers them with r. If r is nil, they are not
// registered. It creates the expected series with value 0.
func newMetrics(r prometheus.Registerer, hooks []Webhook) *metrics {
	with := promauto.With(r)
	m := &metrics{
		endpoints: make(map[string]struct{}),
		attempts: with.NewHistogramVec(prometheus.HistogramOpts{
			Name: "cloudidq_webhook_attempt_duration_seconds", Buckets: attemptBuckets,
			Help: "Time of an attempt at a delivery, by endpoint and class of its result (ok, refused, timeout …).",
		}, []string{"endpoint", "class"}),
		deliveries: with.NewCounterVec(prometheus.CounterOpts{
			Name: "cloudidq_webhook_deliveries_total",
			Help: "Deliveries that have reached a state without further attempts (delivered, held, exhausted).",
		}, []string{"endpoint", "state"}),
		results: with.NewCounterVec(prometheus.CounterOpts{
			Name: "cloudidq_webhook_results_total",
			Help: "Results in deliveries that have arrived.",
		}, []string{"endpoint"}),
		endpoint: with.NewGaugeVec(prometheus.GaugeOpts{
			Name: "cloudidq_webhook_endpoint_state",
			Help: "1 for the state of an endpoint (enabled, failing since its last success, disabled), for all processes.",
		}, []string{"endpoint", "state"}),
		waiting: with.NewGaugeVec(prometheus.GaugeOpts{
			Name: "cloudidq_webhook_deliveries_waiting",
			Help: "Deliveries parked for an endpoint whose circuit is open or whose slots are taken, for all processes. They have no task.",
		}, []string{"endpoint"}),
	}
	// A series that exists from the start shows its first event as an increase.
	for _, hook := range hooks {
		m.endpoints[hook.Name] = struct{}{}
		m.attempts.WithLabelValues(hook.Name, string(webhook.OK))
		m.results.WithLabelValues(hook.Name)
		m.waiting.WithLabelValues(hook.Name)
		for _, state := range []store.DeliveryState{
			store.DeliveryDelivered, store.DeliveryHeld, store.DeliveryExhausted,
		} {
			m.deliveries.WithLabelValues(hook.Name, string(state))
		}
	}
	return m
}

// endpointLabel returns the label value of an endpoint. Endpoints outside the configuration
// share one value, which bounds the number of series.
func (m *metrics) endpointLabel(name string) string {
	if _, known := m.endpoints[name]; known {
		return name
	}
	return otherEndpoints
}

// attempted counts an attempt at a delivery.
func (m *metrics) attempted(name string, a webhook.Attempt) {
	if m != nil {
		m.attempts.WithLabelValues(m.endpointLabel(name), string(a.Class)).Observe(a.Duration.Seconds())
	}
}

// recorded counts a delivery that has left the pending state. If it was delivered, recorded
// counts its results too.
func (m *metrics) recorded(delivery *store.Delivery, state store.DeliveryState) {
	if m == nil || state == store.DeliveryPending {
		return
	}
	name := m.endpointLabel(delivery.Endpoint)
	m.deliveries.WithLabelValues(name, string(state)).Inc()
	if state == store.DeliveryDelivered {
		m.results.WithLabelValues(name).Add(float64(len(delivery.Items)))
	}
}

// showEndpoint sets the state of an endpoint and the number of deliveries on its wait list.
func (m *metrics) showEndpoint(name string, s store.EndpointState, waiting int) {
	m.waiting.WithLabelValues(name).Set(float64(waiting))
	is := endpointEnabled
	switch {
	case !s.Disabled.IsZero():
		is = endpointDisabled
	case !s.FirstFailure.IsZero():
		is = endpointFailing
	}
	for _, state := range endpointStates {
		value := 0.0
		if state == is {
			value = 1
		}
		m.endpoint.WithLabelValues(name, state).Set(value)
	}
}

// watchEvery is how often the state of each endpoint is read, with two Redis commands.
const watchEvery = 10 * time.Second

// endpointWatch keeps the metrics of the endpoints up to date. Any process may change the state
// of an endpoint.
type endpointWatch struct {
	store     Store
	endpoints map[string]*endpoint
	metrics   *metrics
}

// run reads the states until ctx ends.
func (w *endpointWatch) run(ctx context.Context) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		for name := range w.endpoints {
			// While Redis is unavailable the metrics keep the last state. The store's own
			// metrics show the outage.
			state, err := w.store.Endpoint(ctx, name)
			waiting, listErr := w.store.Parked(ctx, name)
			if err == nil && listErr == nil {
				w.metrics.showEndpoint(name, state, waiting)
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
