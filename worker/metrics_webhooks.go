package worker

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"cloudidq/internal/webhook"
	"cloudidq/internal/wechat"
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

// hookMetrics are the metrics of webhook deliveries.
type hookMetrics struct {
	endpoints map[string]struct{} // the configured ones, by name

	attempts   *prometheus.HistogramVec // endpoint, class
	deliveries *prometheus.CounterVec   // endpoint, state
	results    *prometheus.CounterVec   // endpoint
	endpoint   *prometheus.GaugeVec     // endpoint, state
	waiting    *prometheus.GaugeVec     // endpoint
}

// newHookMetrics registers the metrics. It creates the expected series with value 0, as expect
// does.
func newHookMetrics(with promauto.Factory, hooks []Webhook) hookMetrics {
	m := hookMetrics{
		endpoints: make(map[string]struct{}),
		attempts: with.NewHistogramVec(prometheus.HistogramOpts{
			Name: "cloudidq_webhook_attempt_duration_seconds", Buckets: attemptBuckets,
			Help: "Time of an attempt at a delivery, by endpoint and class of its end (ok, refused, timeout …).",
		}, []string{"endpoint", "class"}),
		deliveries: with.NewCounterVec(prometheus.CounterOpts{
			Name: "cloudidq_webhook_deliveries_total",
			Help: "Deliveries that have come to a state in which they are not tried (delivered, held, exhausted).",
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
			Help: "Deliveries that stand in line for an endpoint, which takes nothing or has no slot, for all processes. They have no task.",
		}, []string{"endpoint"}),
	}
	// A series that exists from the start shows its first event as an increase.
	for _, hook := range hooks {
		m.endpoints[hook.Name] = struct{}{}
		m.attempts.WithLabelValues(hook.Name, string(webhook.OK))
		m.results.WithLabelValues(hook.Name)
		m.waiting.WithLabelValues(hook.Name)
		for _, state := range []store.DeliveryState{store.DeliveryDelivered, store.DeliveryHeld, store.DeliveryExhausted} {
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
	return wechat.OtherLabel
}

// attempted counts an attempt at a delivery.
func (m *metrics) attempted(name string, attempt webhook.Attempt) {
	if m != nil {
		m.attempts.WithLabelValues(m.endpointLabel(name), string(attempt.Class)).Observe(attempt.Duration.Seconds())
	}
}

// settled counts a delivery that has left the pending state. If it was delivered, settled
// counts its results too.
func (m *metrics) settled(delivery *store.Delivery, state store.DeliveryState) {
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
