package status

import (
	"cmp"
	"context"
	"slices"
	"time"

	"cloudidq/internal/activity"
	"cloudidq/store"
)

// Viewer selects the part of the status that a caller sees.
type Viewer struct {
	// Apps holds the apps that the caller may see; empty = all.
	Apps []string
	// AppID is the one app that the caller requests; empty = all apps that the caller may see.
	AppID string
	// Limit is the maximum number of apps in the list.
	Limit int
}

// sees reports whether an app is shown.
func (v *Viewer) sees(appID string) bool {
	return (v.AppID == "" || v.AppID == appID) && (len(v.Apps) == 0 || slices.Contains(v.Apps, appID))
}

// whole reports whether the parts that belong to no app are shown.
func (v *Viewer) whole() bool { return len(v.Apps) == 0 && v.AppID == "" }

// For returns the status that v may see. An error means that Redis does not respond.
func (c *Collector) For(ctx context.Context, v Viewer) (*Status, error) {
	snap, err := c.snapshot(ctx)
	if err != nil {
		return nil, err
	}
	// Copy what v may see.
	s := &Status{
		At: store.At(snap.at), Workers: snap.window.Workers, More: snap.more,
		Lifetime: c.cfg.Lifetime.Milliseconds(), Window: activity.Window.Milliseconds(), Step: activity.SeriesStep.Milliseconds(),
		Pauses: c.pauses(snap, &v), Webhooks: c.webhooks(snap, &v), Queues: []QueueStatus{},
		Backfills: []BackfillStatus{},
	}
	c.addApps(s, snap, &v)
	if v.whole() {
		for _, q := range snap.queues {
			s.Queues = append(s.Queues, QueueStatus{q.Queue, q.Pending, q.Active, q.Retry + q.Scheduled, q.Archived})
		}
	}
	for _, b := range snap.backfills {
		if v.sees(b.AppID) {
			s.Backfills = append(s.Backfills, b)
		}
	}
	s.setAlerts()
	return s, nil
}

// pauses returns the pauses that v may see. A pause whose time is over is shown as probing.
func (c *Collector) pauses(snap *snapshot, v *Viewer) []PauseStatus {
	pauses := []PauseStatus{}
	for _, p := range snap.pauses {
		if !v.sees(p.AppID) {
			continue
		}
		text, remedy := c.sources.Explain(p.Code)
		// Every reason other than a quota is shown as app.
		reason, state := p.Reason, "paused"
		if reason != "rate" && reason != "quota" {
			reason = "app" // same rule as in worker/pause.go
		}
		if !p.Until.After(snap.at) {
			state = "probing"
		}
		pauses = append(pauses, PauseStatus{
			AppID: p.AppID, State: state, Reason: reason, ErrCode: p.Code, Text: text, Remedy: remedy,
			Times: p.Times, Since: p.Since, Until: p.Until,
		})
	}
	return pauses
}

// addApps adds the list of apps and the total. Paused apps come first, then the busiest.
func (c *Collector) addApps(s *Status, snap *snapshot, v *Viewer) {
	by := make(map[string]*AppStatus)
	app := func(appID string) *AppStatus {
		if by[appID] == nil {
			by[appID] = &AppStatus{AppID: appID, Series: newSeries()}
		}
		return by[appID]
	}
	// Collect the configured apps, and the apps with activity, a pause or a waiting cloudID.
	for _, appID := range c.cfg.Apps {
		if v.sees(appID) {
			app(appID)
		}
	}
	total := activity.Series{Resolved: make([]int64, activity.SeriesPoints), Failed: make([]int64, activity.SeriesPoints), Expired: make([]int64, activity.SeriesPoints)}
	for appID, series := range snap.window.Apps {
		if v.sees(appID) {
			app(appID).fill(series)
			addSeries(&total, series)
		}
	}
	s.Total.fill(&total)
	for _, p := range s.Pauses {
		app(p.AppID).Paused = true
	}
	for _, q := range snap.queues {
		for _, w := range q.Waiting {
			if !v.sees(w.AppID) {
				continue
			}
			age := max(1, snap.at.Sub(w.Since).Milliseconds())
			a := app(w.AppID)
			a.Oldest, s.Total.Oldest = max(a.Oldest, age), max(s.Total.Oldest, age)
		}
	}
	// Sort the apps and cut the list at the limit.
	all := make([]*AppStatus, 0, len(by))
	for _, a := range by {
		all = append(all, a)
	}
	// Paused apps first, then by finished cloudIDs, age of the oldest waiting cloudID, and appid.
	slices.SortFunc(all, func(a, b *AppStatus) int {
		if a.Paused != b.Paused {
			return cmp.Compare(rank(b.Paused), rank(a.Paused))
		}
		return cmp.Or(cmp.Compare(b.Finished(), a.Finished()), cmp.Compare(b.Oldest, a.Oldest),
			cmp.Compare(a.AppID, b.AppID))
	})
	n := min(v.Limit, len(all))
	s.Apps, s.LeftOut = make([]AppStatus, n), len(all)-n
	for i := range s.Apps {
		s.Apps[i] = *all[i]
	}
}

// rank converts paused to a number for sorting.
func rank(paused bool) int {
	if paused {
		return 1
	}
	return 0
}

// newSeries returns a series with all counts 0.
func newSeries() EndSeries {
	return EndSeries{make([]int64, activity.SeriesPoints), make([]int64, activity.SeriesPoints), make([]int64, activity.SeriesPoints)}
}

// fill copies the activity of an app from the store's series.
func (a *AppStatus) fill(s *activity.Series) {
	t := &s.Total
	a.Resolved, a.Failed, a.Expired, a.Requests, a.Sent = t.Resolved, t.Failed, t.Expired, t.Requests, t.Sent
	a.PerSecond = round(float64(s.LastMinute.Finished())/time.Minute.Seconds(), 100)
	if finished := t.Finished(); finished > 0 && t.Requests > 0 {
		a.PerCloudID = round(float64(t.Requests)/float64(finished), 1000)
	}
	a.P50, a.P99 = quantile(t.Took, 0.5), quantile(t.Took, 0.99)
	a.Series = EndSeries{s.Resolved, s.Failed, s.Expired}
}

// round rounds x to 1/scale, because further digits would be noise.
func round(x float64, scale int64) float64 {
	return float64(int64(x*float64(scale)+0.5)) / float64(scale)
}

// quantile returns a quantile of the latencies in milliseconds. It returns 0 if there are none.
func quantile(took activity.Latencies, q float64) float64 {
	d, _ := took.Quantile(q)
	return round(float64(d.Microseconds())/1000, 10)
}

// addSeries adds s to sum.
func addSeries(sum, s *activity.Series) {
	sum.Total.Add(&s.Total)
	sum.LastMinute.Add(&s.LastMinute)
	for i := range s.Resolved {
		sum.Resolved[i] += s.Resolved[i]
		sum.Failed[i] += s.Failed[i]
		sum.Expired[i] += s.Expired[i]
	}
}

// webhooks returns the endpoints that v may see. A caller limited to some apps sees the
// endpoints that receive results of these apps.
func (c *Collector) webhooks(snap *snapshot, v *Viewer) []WebhookStatus {
	hooks := []WebhookStatus{}
	for _, hook := range c.cfg.Webhooks {
		shown := v.whole() || slices.ContainsFunc(hook.Apps, v.sees)
		at := webhookAt(hook.Name, snap.endpoints[hook.Name])
		// Add up the deliveries to the endpoint. An endpoint with deliveries of a visible app is
		// shown too.
		for _, b := range snap.backlogs {
			if b.Endpoint != hook.Name || !v.sees(b.AppID) {
				continue
			}
			shown = true
			at.Pending, at.Held, at.Exhausted = at.Pending+b.Pending, at.Held+b.Held, at.Exhausted+b.Exhausted
		}
		if shown {
			hooks = append(hooks, at)
		}
	}
	return hooks
}

// webhookAt returns the status of an endpoint without its deliveries.
func webhookAt(name string, state store.EndpointState) WebhookStatus {
	switch {
	case !state.Disabled.IsZero():
		return WebhookStatus{Name: name, State: "disabled", Reason: state.Reason, Since: state.Disabled}
	case !state.FirstFailure.IsZero():
		return WebhookStatus{Name: name, State: "failing", Since: state.FirstFailure}
	default:
		return WebhookStatus{Name: name, State: "ok"}
	}
}
