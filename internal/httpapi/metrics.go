package httpapi

import (
	"context"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"cloudidq/tasks"
)

// Metrics count the requests of a [Server]. A nil one counts nothing.
type Metrics struct {
	requests *prometheus.CounterVec   // route, method, status
	duration *prometheus.HistogramVec // route, method
	inFlight prometheus.Gauge
	accepted *prometheus.CounterVec // queue
}

// NewMetrics registers the metrics.
func NewMetrics(r prometheus.Registerer) *Metrics {
	with := promauto.With(r)
	m := &Metrics{
		requests: with.NewCounterVec(prometheus.CounterOpts{
			Name: "cloudidq_http_requests_total",
			Help: "Requests to the API, by route (other: none of ours), method and status.",
		}, []string{"route", "method", "status"}),
		duration: with.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "cloudidq_http_request_duration_seconds",
			Help:    "Time of a request to the API, with what it waited for records.",
			Buckets: []float64{.0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}, []string{"route", "method"}),
		inFlight: with.NewGauge(prometheus.GaugeOpts{
			Name: "cloudidq_http_requests_in_flight",
			Help: "Requests to the API that wait for their answer.",
		}),
		accepted: with.NewCounterVec(prometheus.CounterOpts{
			Name: "cloudidq_cloudids_accepted_total",
			Help: "CloudIDs that the API has put into a queue.",
		}, []string{"queue"}),
	}
	for _, queue := range []string{tasks.QueueEvents, tasks.QueueBackfill} {
		m.accepted.WithLabelValues(queue)
	}
	return m
}

// Accepted counts cloudIDs that Redis has now.
func (m *Metrics) Accepted(queue string, cloudIDs int) {
	if m == nil {
		return
	}
	if queue == "" {
		queue = tasks.QueueEvents
	}
	m.accepted.WithLabelValues(queue).Add(float64(cloudIDs))
}

// begin counts a request in.
func (m *Metrics) begin() {
	if m != nil {
		m.inFlight.Inc()
	}
}

// end counts it out.
func (m *Metrics) end(route, method string, status int, took time.Duration) {
	if m == nil {
		return
	}
	m.inFlight.Dec()
	m.requests.WithLabelValues(route, method, statusLabel(status)).Inc()
	m.duration.WithLabelValues(route, method).Observe(took.Seconds())
}

// statusLabel bounds what a handler may make up.
func statusLabel(status int) string {
	if status < 100 || status > 599 {
		return "other"
	}
	return strconv.Itoa(status)
}

// counted is a producer whose chunks are counted.
type counted struct {
	producer
	metrics *Metrics
}

// WriteChunk is [tasks.Client.WriteChunk].
func (c counted) WriteChunk(ctx context.Context, chunk tasks.Chunk) error {
	err := c.producer.WriteChunk(ctx, chunk)
	if err == nil {
		c.metrics.Accepted(tasks.QueueBackfill, len(chunk.Items))
	}
	return err
}
