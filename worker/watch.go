package worker

import (
	"context"
	"time"

	"cloudidq/internal/coord"
	"cloudidq/internal/wechat"
)

// watchEvery is how often the state of each endpoint is read, with two Redis commands.
const watchEvery = 10 * time.Second

// endpointWatch keeps the metrics of the endpoints up to date. Any process may change the state
// of an endpoint.
type endpointWatch struct {
	deliveries deliveries
	endpoints  map[string]*endpoint
	metrics    *metrics
}

// run reads the states until ctx ends.
func (w *endpointWatch) run(ctx context.Context) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		for name := range w.endpoints {
			// While Redis is unavailable the metrics keep the last state. The store's own
			// metrics show the outage.
			state, err := w.deliveries.Endpoint(ctx, name)
			waiting, lineErr := w.deliveries.InLine(ctx, name)
			if err == nil && lineErr == nil {
				w.metrics.showEndpoint(name, state, waiting)
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// pauseLabels are the labels of a pause in the metrics.
type pauseLabels struct{ app, class, code string }

func (m *metrics) labelsOf(p coord.Pause) pauseLabels {
	return pauseLabels{m.apps.Of(p.AppID), classNamed(p.Reason).String(), wechat.CodeLabel(p.Code)}
}

// showPauses sets the gauge of the paused apps and deletes the series in shown that no longer
// apply. It returns what is shown now.
func (m *metrics) showPauses(list []coord.Pause, shown map[pauseLabels]float64) map[pauseLabels]float64 {
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
func (m *metrics) pauseBegun(p coord.Pause) {
	if m != nil {
		l := m.labelsOf(p)
		m.pauses.WithLabelValues(l.app, l.class, l.code).Inc()
	}
}
