package worker

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"time"

	"cloudidq/internal/wechat"
)

// quotas is the part of [wechat.Client] that tells quotas.
type quotas interface {
	Quota(ctx context.Context, tokens wechat.TokenSource) (wechat.Quota, error)
}

// leases is the part of [store.Leases] that the worker uses.
type leases interface {
	Hold(ctx context.Context, name, holder string, ttl time.Duration) (bool, error)
	Release(ctx context.Context, name, holder string) error
}

const (
	quotaLease = "quota"
	// quotaTurn is how often a process looks whether it is the one to ask, and quotaHeld how long it stays so after that.
	quotaTurn = time.Minute
	quotaHeld = 3 * time.Minute
	// quotaEvery is how often that one asks.
	quotaEvery = 10 * time.Minute
	// quotaPatience bounds one question.
	quotaPatience = 10 * time.Second
)

// quotaWatch shows what is left of the apps' quotas. The question costs nothing of them, but a token, and nobody needs
// to hear it from two processes.
type quotaWatch struct {
	apps    []App
	wechat  quotas
	leases  leases
	metrics *metrics
	log     *slog.Logger

	me    string
	asked time.Time // the last time; used by run only
}

func newQuotaWatch(apps []App, w quotas, l leases, m *metrics, log *slog.Logger) *quotaWatch {
	return &quotaWatch{apps: apps, wechat: w, leases: l, metrics: m, log: log, me: rand.Text()}
}

// run asks now and then until ctx ends. It begins after a minute: a process that has just started has other things to do.
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

// turn asks if it is this process's turn and time.
func (q *quotaWatch) turn(ctx context.Context) {
	mine, err := q.leases.Hold(ctx, quotaLease, q.me, quotaHeld)
	if err != nil || !mine {
		q.forget()
		return
	}
	if time.Since(q.asked) < quotaEvery {
		return
	}
	q.asked = time.Now()
	for _, app := range q.apps {
		if q.metrics.apps.Of(app.AppID) == wechat.OtherLabel {
			continue // not told apart
		}
		q.ask(ctx, app)
	}
}

// forget drops what another process tells from now on.
func (q *quotaWatch) forget() {
	if !q.asked.IsZero() {
		q.asked = time.Time{}
		q.metrics.quota.Reset()
	}
}

func (q *quotaWatch) ask(ctx context.Context, app App) {
	ctx, cancel := context.WithTimeout(ctx, quotaPatience)
	defer cancel()
	got, err := q.wechat.Quota(ctx, app.Tokens)
	if err != nil {
		q.metrics.dropQuota(app.AppID)
		if !errors.Is(err, wechat.ErrNoQuota) && ctx.Err() == nil {
			q.log.Debug("the quota of an app cannot be had", "appid", app.AppID, "error", err)
		}
		return
	}
	q.metrics.showQuota(app.AppID, got)
}

// leave lets another process go on at once.
func (q *quotaWatch) leave(ctx context.Context) {
	if q.asked.IsZero() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = q.leases.Release(ctx, quotaLease, q.me) // else it lapses
}

// What a quota is of.
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
