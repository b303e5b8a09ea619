package httpapi

import (
	"context"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"cloudidq/tasks"
)

// Metrics counts the requests of a [Server]. A nil *Metrics counts nothing.
type Metrics struct {
	requests *prometheus.CounterVec   // route, method, status
	duration *prometheus.HistogramVec // route, method
	inFlight prometheus.Gauge
	accepted *prometheus.CounterVec // queue
}

// NewMetrics registers the metrics with r.
func NewMetrics(r prometheus.Registerer) *Metrics {
	with := promauto.With(r)
	m := &Metrics{
		requests: with.NewCounterVec(prometheus.CounterOpts{
			Name: "cloudidq_http_requests_total",
			Help: "Requests to the API, by route (other: unknown routes), method and status.",
		}, []string{"route", "method", "status"}),
		duration: with.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "cloudidq_http_request_duration_seconds",
			Help:    "Duration of requests to the API, including the wait for records.",
			Buckets: []float64{.0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}, []string{"route", "method"}),
		inFlight: with.NewGauge(prometheus.GaugeOpts{
			Name: "cloudidq_http_requests_in_flight",
			Help: "Requests to the API that have not been answered yet.",
		}),
		accepted: with.NewCounterVec(prometheus.CounterOpts{
			Name: "cloudidq_cloudids_accepted_total",
			Help: "CloudIDs that the API has enqueued.",
		}, []string{"queue"}),
	}
	// Show both queues from the start, with the value 0.
	for _, queue := range []string{tasks.QueueEvents, tasks.QueueBackfill} {
		m.accepted.WithLabelValues(queue)
	}
	return m
}

// Accepted counts cloudIDs that were enqueued. An empty queue means [tasks.QueueEvents].
func (m *Metrics) Accepted(queue string, cloudIDs int) {
	if m == nil {
		return
	}
	if queue == "" {
		queue = tasks.QueueEvents
	}
	m.accepted.WithLabelValues(queue).Add(float64(cloudIDs))
}

// begin records the start of a request.
func (m *Metrics) begin() {
	if m != nil {
		m.inFlight.Inc()
	}
}

// end records the end of a request.
func (m *Metrics) end(route, method string, status int, took time.Duration) {
	if m == nil {
		return
	}
	m.inFlight.Dec()
	m.requests.WithLabelValues(route, method, statusLabel(status)).Inc()
	m.duration.WithLabelValues(route, method).Observe(took.Seconds())
}

// statusLabel returns the label for a status. It maps invalid statuses to "other", which bounds
// the number of labels.
func statusLabel(status int) string {
	if status < 100 || status > 599 {
		return "other"
	}
	return strconv.Itoa(status)
}

// countingProducer is a producer that counts the cloudIDs of its chunks.
type countingProducer struct {
	producer
	metrics *Metrics
}

// WriteChunk calls [tasks.Client.WriteChunk] and counts the cloudIDs on success.
func (c countingProducer) WriteChunk(ctx context.Context, chunk tasks.Chunk) error {
	err := c.producer.WriteChunk(ctx, chunk)
	if err == nil {
		c.metrics.Accepted(tasks.QueueBackfill, len(chunk.Items))
	}
	return err
}
