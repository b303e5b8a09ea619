package wechat

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// classOK is the label class of a request that WeChat has accepted. Single items may still have
// failed.
const classOK = "ok"

// Metrics counts the requests of a [Client] and the tokens that it fetches. One Metrics serves
// all clients of a process. A nil Metrics counts nothing.
type Metrics struct {
	apps     AppLabels
	requests *prometheus.CounterVec   // app, class, errcode
	duration *prometheus.HistogramVec // app
	cloudIDs *prometheus.HistogramVec // app
	inFlight *prometheus.GaugeVec     // app
	fetches  *prometheus.CounterVec   // app, mode, result
}

// NewMetrics registers the metrics with r. apps have their own labels; pass the appids of
// components too.
func NewMetrics(r prometheus.Registerer, apps AppLabels) *Metrics {
	with := promauto.With(r)
	m := &Metrics{
		apps: apps,
		requests: with.NewCounterVec(prometheus.CounterOpts{
			Name: "cloudidq_wechat_requests_total",
			Help: "Requests to /wxa/getopendata, by class (ok, or why the request as a whole failed) and errcode.",
		}, []string{"app", "class", "errcode"}),
		duration: with.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "cloudidq_wechat_request_duration_seconds",
			Help:    "Time from sending a request to /wxa/getopendata to having read its answer.",
			Buckets: []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"app"}),
		cloudIDs: with.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "cloudidq_wechat_request_cloudids",
			Help:    "CloudIDs in one request to /wxa/getopendata.",
			Buckets: []float64{1, 2, 3, 5, 10, 20, 50, 100},
		}, []string{"app"}),
		inFlight: with.NewGaugeVec(prometheus.GaugeOpts{
			Name: "cloudidq_wechat_requests_in_flight",
			Help: "Requests to /wxa/getopendata that wait for their answer.",
		}, []string{"app"}),
		fetches: with.NewCounterVec(prometheus.CounterOpts{
			Name: "cloudidq_token_fetches_total",
			Help: "Access tokens fetched, by mode (platform: a third-party platform's own) and result (ok, or the class of the failure).",
		}, []string{"app", "mode", "result"}),
	}
	for _, app := range apps.Known() {
		m.requests.WithLabelValues(app, classOK, CodeLabel(0))
		m.duration.WithLabelValues(app)
		m.cloudIDs.WithLabelValues(app)
		m.inFlight.WithLabelValues(app)
	}
	return m
}

// begin counts a request as in flight. Call the returned function when the request is done, with
// its result. sent is false if nothing was sent after all.
func (m *Metrics) begin(appID string, cloudIDs int) func(failure *Error, sent bool) {
	if m == nil {
		return func(*Error, bool) {}
	}
	app, begun := m.apps.Of(appID), time.Now()
	inFlight := m.inFlight.WithLabelValues(app)
	inFlight.Inc()
	return func(failure *Error, sent bool) {
		inFlight.Dec()
		if !sent {
			return
		}
		class, code := classOK, 0
		if failure != nil {
			class, code = failure.Class.String(), failure.Code
		}
		m.requests.WithLabelValues(app, class, CodeLabel(code)).Inc()
		m.duration.WithLabelValues(app).Observe(time.Since(begun).Seconds())
		m.cloudIDs.WithLabelValues(app).Observe(float64(cloudIDs))
	}
}

// fetched counts a token fetch.
func (m *Metrics) fetched(appID, mode string, failure *Error) {
	if m == nil {
		return
	}
	result := classOK
	if failure != nil {
		result = failure.Class.String()
	}
	m.fetches.WithLabelValues(m.apps.Of(appID), mode, result).Inc()
}

// Modes of token fetches, as they appear in metrics and spans.
const (
	modeStable    = "stable"
	modeLegacy    = "legacy"
	modeRemote    = "remote"
	modeComponent = "component" // a merchant's token
	modePlatform  = "platform"  // the platform's own
)

// fetcher wraps a function that fetches an app's tokens, so that each fetch is counted and
// traced.
func (c *Client) fetcher(
	appID, mode string, fetch func(context.Context) (grant, *Error),
) func(context.Context) (grant, *Error) {
	return func(ctx context.Context) (grant, *Error) {
		ctx, end := c.startFetch(ctx, appID, mode)
		got, failure := fetch(ctx)
		end(failure)
		c.metrics.fetched(appID, mode, failure)
		return got, failure
	}
}
