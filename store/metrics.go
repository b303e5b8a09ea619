package store

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// The results of a call, as metric labels.
const (
	resultOK       = "ok"
	resultError    = "error"
	resultCanceled = "canceled" // the caller canceled the call
)

// The operations of a store, as metric labels and in the names of spans.
const (
	opClaim         = "claim"
	opSave          = "save"
	opLookup        = "lookup"
	opErase         = "erase"
	opCut           = "cut" // from here on: of deliveries
	opLoad          = "load"
	opRecordAttempt = "settle" // dashboards use this name
)

// Metrics times the calls of stores. All stores of a process share one.
type Metrics struct {
	calls *prometheus.HistogramVec // driver, operation, result
}

// NewMetrics registers the metrics with r. It panics if they are already registered.
func NewMetrics(r prometheus.Registerer) *Metrics {
	return &Metrics{calls: promauto.With(r).NewHistogramVec(prometheus.HistogramOpts{
		Name:    "cloudidq_store_call_duration_seconds",
		Help:    "Time of a call of the store, by driver, operation and result (ok, error, canceled). Deliveries are in Redis always.",
		Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5},
	}, []string{"driver", "operation", "result"})}
}

// expect creates the series of operations before their first call, so that they start at zero.
func (m *Metrics) expect(driver string, operations ...string) {
	for _, operation := range operations {
		for _, result := range []string{resultOK, resultError} {
			m.calls.WithLabelValues(driver, operation, result)
		}
	}
}

// observe records one call that took the given time and returned err.
func (m *Metrics) observe(driver, operation string, err error, took time.Duration) {
	result := resultOK
	switch {
	case err == nil, errors.Is(err, ErrNoDelivery), errors.Is(err, ErrUnreadable): // these are answers too
	case errors.Is(err, context.Canceled):
		result = resultCanceled
	default:
		result = resultError
	}
	m.calls.WithLabelValues(driver, operation, result).Observe(took.Seconds())
}
