package worker

import (
	"context"
	"time"

	"github.com/hibiken/asynq"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"cloudidq/internal/attempt"
	"cloudidq/internal/wechat"
	"cloudidq/store"
)

// Labels of retries: the layer at which a cloudID is returned to be requested again.
const (
	layerCall  = "call"  // within a call, after seconds
	layerQueue = "queue" // to the queue, after a failed attempt
	layerWait  = "wait"  // to the queue, no failure: a pause, another task's claim, no slot
)

// metrics holds the metrics of a worker. The methods that count accept a nil *metrics and do
// nothing then. observeAttempts, showQuota and dropQuota need one.
type metrics struct {
	apps wechat.AppLabels

	finished *prometheus.CounterVec   // app, status, class, errcode
	duration *prometheus.HistogramVec // app, status
	left     *prometheus.HistogramVec // status
	retries  *prometheus.CounterVec   // app, layer
	attempts *prometheus.HistogramVec // queue, result
	inFlight *prometheus.GaugeVec     // queue
	rescued  *prometheus.CounterVec   // queue
	quota    *prometheus.GaugeVec     // app, of
}

// Buckets in seconds. The lifetime of a cloudID is 300 s.
var (
	lifeBuckets    = []float64{.05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 180, 240, 300}
	leftBuckets    = []float64{0, 5, 15, 30, 60, 120, 180, 240, 270, 285, 295}
	attemptBuckets = []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}
)

// newMetrics creates the metrics of a worker and registers them with r. If r is nil, they are
// not registered.
func newMetrics(r prometheus.Registerer, cfg *Config) *metrics {
	with := promauto.With(r)
	m := &metrics{
		apps: cfg.appLabels(),
		finished: with.NewCounterVec(prometheus.CounterOpts{
			Name: "cloudidq_cloudids_finished_total",
			Help: "Finished cloudIDs, by final status (resolved, failed, expired), " +
				"and class and errcode of the reason.",
		}, []string{"app", "status", "class", "errcode"}),
		duration: with.NewHistogramVec(prometheus.HistogramOpts{
			Name: "cloudidq_cloudid_duration_seconds", Buckets: lifeBuckets,
			Help: "Time from the acceptance of a cloudID to its final status.",
		}, []string{"app", "status"}),
		left: with.NewHistogramVec(prometheus.HistogramOpts{
			Name: "cloudidq_cloudid_lifetime_left_seconds", Buckets: leftBuckets,
			Help: "Time in which a cloudID could still have been sent when it finished; " +
				"0 if its lifetime was over.",
		}, []string{"status"}),
		retries: with.NewCounterVec(prometheus.CounterOpts{
			Name: "cloudidq_cloudid_retries_total",
			Help: "Postponed cloudIDs, by layer: sent again within a call, " +
				"requeued by a failed attempt, or requeued to wait.",
		}, []string{"app", "layer"}),
		attempts: with.NewHistogramVec(prometheus.HistogramOpts{
			Name: "cloudidq_task_try_duration_seconds", Buckets: attemptBuckets,
			Help: "Duration of an attempt of a task, by queue and result " +
				"(done, again, wait, archived, canceled, failed).",
		}, []string{"queue", "result"}),
		inFlight: with.NewGaugeVec(prometheus.GaugeOpts{
			Name: "cloudidq_tasks_in_flight",
			Help: "Tasks in flight in this process.",
		}, []string{"queue"}),
		rescued: with.NewCounterVec(prometheus.CounterOpts{
			Name: "cloudidq_tasks_rescued_total",
			Help: "Tasks that this process has taken back from dead workers.",
		}, []string{"queue"}),
		quota: with.NewGaugeVec(prometheus.GaugeOpts{
			Name: "cloudidq_wechat_quota_requests",
			Help: "WeChat's quota of an app for /wxa/getopendata today: limit, used, remain. " +
				"One process looks it up every 10 minutes.",
		}, []string{"app", "of"}),
	}
	m.expect(cfg)
	return m
}

// appLabels returns the apps that have labels of their own in the metrics.
func (c *Config) appLabels() wechat.AppLabels {
	ids := make([]string, len(c.Apps))
	for i, app := range c.Apps {
		ids[i] = app.AppID
	}
	return wechat.NewAppLabels(ids...)
}

// expect creates the series that will be counted, so that the first event shows as an increase.
func (m *metrics) expect(cfg *Config) {
	for _, app := range m.apps.Known() {
		m.finished.WithLabelValues(app, string(store.Resolved), wechat.Class(0).String(), "0")
		m.finished.WithLabelValues(app, string(store.Expired), wechat.ClassExpired.String(), "0")
		m.duration.WithLabelValues(app, string(store.Resolved))
		for _, layer := range []string{layerCall, layerQueue, layerWait} {
			m.retries.WithLabelValues(app, layer)
		}
	}
	for _, queue := range cfg.queues() {
		m.attempts.WithLabelValues(queue, attempt.Done)
		m.inFlight.WithLabelValues(queue)
		m.rescued.WithLabelValues(queue)
	}
}

// finishedCloudID describes how a cloudID finished.
type finishedCloudID struct {
	status store.Status
	class  wechat.Class
	code   int
	took   time.Duration // since acceptance
	left   time.Duration // rest of the time in which it may be sent; negative if that is over
}

// countFinished counts finished cloudIDs whose records are in the store.
func (m *metrics) countFinished(appID string, cloudIDs []finishedCloudID) {
	if m == nil {
		return
	}
	app := m.apps.Of(appID)
	for _, e := range cloudIDs {
		status := string(e.status)
		m.finished.WithLabelValues(app, status, e.class.String(), wechat.CodeLabel(e.code)).Inc()
		m.duration.WithLabelValues(app, status).Observe(e.took.Seconds())
		m.left.WithLabelValues(status).Observe(max(0, e.left).Seconds())
	}
}

// retried counts n cloudIDs of an app that are requested again.
func (m *metrics) retried(appID, layer string, n int) {
	if m != nil && n > 0 {
		m.retries.WithLabelValues(m.apps.Of(appID), layer).Add(float64(n))
	}
}

// observeAttempts is a middleware that measures attempts and counts the tasks in flight.
func (m *metrics) observeAttempts(next asynq.Handler) asynq.Handler {
	return asynq.HandlerFunc(func(ctx context.Context, task *asynq.Task) error {
		queue, _ := asynq.GetQueueName(ctx)
		inFlight := m.inFlight.WithLabelValues(queue)
		inFlight.Inc()
		defer inFlight.Dec()
		begun := time.Now()
		err := next.ProcessTask(ctx, task)
		m.attempts.WithLabelValues(queue, attempt.Result(err)).Observe(time.Since(begun).Seconds())
		return err
	})
}

// rescuedTasks counts tasks that were taken back from dead workers.
func (m *metrics) rescuedTasks(queue string, n int) {
	if m != nil {
		m.rescued.WithLabelValues(queue).Add(float64(n))
	}
}
