package store

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// What becomes of a call, as metrics have it.
const (
	resultOK       = "ok"
	resultError    = "error"
	resultCanceled = "canceled" // by the caller
)

// The operations of a store, as metrics and spans name them.
const (
	opClaim  = "claim"
	opSave   = "save"
	opLookup = "lookup"
	opErase  = "erase"
	opCut    = "cut" // of deliveries, as are those below
	opLoad   = "load"
	opSettle = "settle"
)

// Metrics time the calls of stores. One serves all of a process.
type Metrics struct {
	calls *prometheus.HistogramVec // driver, operation, result
}

// NewMetrics registers the metrics.
func NewMetrics(r prometheus.Registerer) *Metrics {
	return &Metrics{calls: promauto.With(r).NewHistogramVec(prometheus.HistogramOpts{
		Name:    "cloudidq_store_call_duration_seconds",
		Help:    "Time of a call of the store, by driver, operation and result (ok, error, canceled). Deliveries are in Redis always.",
		Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5},
	}, []string{"driver", "operation", "result"})}
}

// expect makes the series of operations that are about to be observed.
func (m *Metrics) expect(driver string, operations ...string) {
	for _, operation := range operations {
		for _, result := range []string{resultOK, resultError} {
			m.calls.WithLabelValues(driver, operation, result)
		}
	}
}

func (m *Metrics) observe(driver, operation string, err error, took time.Duration) {
	result := resultOK
	switch {
	case err == nil, errors.Is(err, ErrNoDelivery), errors.Is(err, ErrUnreadable): // answers, too
	case errors.Is(err, context.Canceled):
		result = resultCanceled
	default:
		result = resultError
	}
	m.calls.WithLabelValues(driver, operation, result).Observe(took.Seconds())
}
