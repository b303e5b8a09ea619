package worker

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"time"

	"cloudidq/internal/wechat"
)

// quotas is the part of [wechat.Client] that looks up quotas.
type quotas interface {
	Quota(ctx context.Context, tokens wechat.TokenSource) (wechat.Quota, error)
}

// leases is the part of [coord.Leases] that the worker uses.
type leases interface {
	Hold(ctx context.Context, name, holder string, ttl time.Duration) (bool, error)
	Release(ctx context.Context, name, holder string) error
}

const (
	quotaLease = "quota"
	// quotaTurn is how often a process requests or extends the lease. The process that gets it
	// holds it for quotaLeaseFor.
	quotaTurn     = time.Minute
	quotaLeaseFor = 3 * time.Minute
	// quotaEvery is how often the holder of the lease looks up the quotas.
	quotaEvery = 10 * time.Minute
	// quotaPatience bounds one lookup.
	quotaPatience = 10 * time.Second
)

// quotaWatch shows the remaining quotas of the apps in the metrics. A lookup does not count
// against the quota, but it needs a token. The result is the same in every process, so only one
// process looks quotas up.
type quotaWatch struct {
	apps    []App
	wechat  quotas
	leases  leases
	metrics *metrics
	log     *slog.Logger

	me string
	// lookedUp is the time of the last lookup; zero = another process looks up. Used by run only.
	lookedUp time.Time
}

// newQuotaWatch returns a watch with a random name as the holder of the lease.
func newQuotaWatch(apps []App, w quotas, l leases, m *metrics, log *slog.Logger) *quotaWatch {
	return &quotaWatch{apps: apps, wechat: w, leases: l, metrics: m, log: log, me: rand.Text()}
}

// run looks up the quotas at intervals until ctx ends. The first lookup is after a minute,
// because a process that has just started has more urgent work.
func (q *quotaWatch) run(ctx context.Context) {
	tick := time.NewTicker(quotaTurn)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			q.turn(ctx)
		case <-ctx.Done():
			q.leave(ctx)
			return
		}
	}
}

// turn looks up the quotas if this process has the lease and the last lookup is long enough
// ago.
func (q *quotaWatch) turn(ctx context.Context) {
	mine, err := q.leases.Hold(ctx, quotaLease, q.me, quotaLeaseFor)
	if err != nil || !mine {
		q.forget()
		return
	}
	if time.Since(q.lookedUp) < quotaEvery {
		return
	}
	q.lookedUp = time.Now()
	for _, app := range q.apps {
		if q.metrics.apps.Of(app.AppID) == wechat.OtherLabel {
			continue // the app has no label of its own
		}
		q.lookUp(ctx, app)
	}
}

// forget deletes the quotas from this process's metrics, because another process shows them
// from now on.
func (q *quotaWatch) forget() {
	if !q.lookedUp.IsZero() {
		q.lookedUp = time.Time{}
		q.metrics.quota.Reset()
	}
}

// lookUp looks up the quota of one app. If that fails, the app's series are deleted.
func (q *quotaWatch) lookUp(ctx context.Context, app App) {
	ctx, cancel := context.WithTimeout(ctx, quotaPatience)
	defer cancel()
	got, err := q.wechat.Quota(ctx, app.Tokens)
	if err != nil {
		q.metrics.dropQuota(app.AppID)
		if !errors.Is(err, wechat.ErrNoQuota) && ctx.Err() == nil {
			q.log.Debug("cannot look up the quota of an app", "appid", app.AppID, "error", err)
		}
		return
	}
	q.metrics.showQuota(app.AppID, got)
}

// leave releases the lease, so that another process can continue at once.
func (q *quotaWatch) leave(ctx context.Context) {
	if q.lookedUp.IsZero() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = q.leases.Release(ctx, quotaLease, q.me) // if this fails, the lease lapses
}

// Values of the label "of".
const (
	quotaLimit  = "limit"
	quotaUsed   = "used"
	quotaRemain = "remain"
)

func (m *metrics) showQuota(appID string, q wechat.Quota) {
	app := m.apps.Of(appID)
	m.quota.WithLabelValues(app, quotaLimit).Set(float64(q.DailyLimit))
	m.quota.WithLabelValues(app, quotaUsed).Set(float64(q.Used))
	m.quota.WithLabelValues(app, quotaRemain).Set(float64(q.Remain))
}

func (m *metrics) dropQuota(appID string) {
	for _, of := range []string{quotaLimit, quotaUsed, quotaRemain} {
		m.quota.DeleteLabelValues(m.apps.Of(appID), of)
	}
}
