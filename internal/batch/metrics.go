package batch

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"cloudidq/internal/coord"
	"cloudidq/internal/wechat"
)

// Buckets in seconds.
var (
	batchBuckets = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 5}
	rateBuckets  = []float64{.01, .05, .1, .5, 1, 5, 15, 30, 60}
)

// Metrics holds the metrics of a batcher and its pauser. A nil *Metrics counts nothing.
type Metrics struct {
	apps      wechat.AppLabels
	batchWait prometheus.Histogram
	rateWaits *prometheus.HistogramVec // app
	paused    *prometheus.GaugeVec     // app, class, errcode
	pauses    *prometheus.CounterVec   // app, class, errcode
}

// NewMetrics creates the metrics and registers them with r. If r is nil, they are not
// registered. apps are the apps with labels of their own.
func NewMetrics(r prometheus.Registerer, apps wechat.AppLabels) *Metrics {
	with := promauto.With(r)
	m := &Metrics{
		apps: apps,
		batchWait: with.NewHistogram(prometheus.HistogramOpts{
			Name: "cloudidq_batch_wait_seconds", Buckets: batchBuckets,
			Help: "Time from the first cloudID of a batch to its request: the linger, and waiting for a free request.",
		}),
		rateWaits: with.NewHistogramVec(prometheus.HistogramOpts{
			Name: "cloudidq_rate_wait_seconds", Buckets: rateBuckets,
			Help: "Waits for a request of the app's rate_per_minute.",
		}, []string{"app"}),
		paused: with.NewGaugeVec(prometheus.GaugeOpts{
			Name: "cloudidq_app_paused",
			Help: "1 while an app is paused, for all processes, with class and errcode of the reason; else 0 with none and 0.",
		}, []string{"app", "class", "errcode"}),
		pauses: with.NewCounterVec(prometheus.CounterOpts{
			Name: "cloudidq_app_pauses_total",
			Help: "Pauses that this process has begun, by class and errcode of the reason.",
		}, []string{"app", "class", "errcode"}),
	}
	// A series that exists shows its first event as an increase.
	for _, app := range apps.Known() {
		m.paused.WithLabelValues(app, wechat.Class(0).String(), "0")
	}
	return m
}

// waited observes how long a batch waited for its request. since is when the batch was opened.
func (m *Metrics) waited(since time.Time) {
	if m != nil {
		m.batchWait.Observe(time.Since(since).Seconds())
	}
}

// paced observes how long an app waited for a request of its rate_per_minute.
func (m *Metrics) paced(appID string, waited time.Duration) {
	if m != nil {
		m.rateWaits.WithLabelValues(m.apps.Of(appID)).Observe(waited.Seconds())
	}
}

// pauseLabels are the labels of a pause in the metrics.
type pauseLabels struct{ app, class, code string }

func (m *Metrics) labelsOf(p coord.Pause) pauseLabels {
	return pauseLabels{m.apps.Of(p.AppID), classNamed(p.Reason).String(), wechat.CodeLabel(p.Code)}
}

// showPauses sets the gauge of the paused apps and deletes the series in shown that no longer
// apply. It returns what is shown now.
func (m *Metrics) showPauses(list []coord.Pause, shown map[pauseLabels]float64) map[pauseLabels]float64 {
	if m == nil {
		return nil
	}
	now := make(map[pauseLabels]float64, len(list))
	for _, p := range list {
		now[m.labelsOf(p)]++ // pauses of several merchants' apps may share their labels
	}
	for l, n := range now {
		if shown[l] != n {
			m.paused.WithLabelValues(l.app, l.class, l.code).Set(n)
		}
	}
	for l := range shown {
		if _, still := now[l]; !still {
			m.paused.DeleteLabelValues(l.app, l.class, l.code)
		}
	}
	return now
}

// pauseBegun counts a pause that this process has begun.
func (m *Metrics) pauseBegun(p coord.Pause) {
	if m != nil {
		l := m.labelsOf(p)
		m.pauses.WithLabelValues(l.app, l.class, l.code).Inc()
	}
}
