package status

import (
	"cmp"
	"slices"
	"time"

	"cloudidq/internal/activity"
)

// Condition says how healthy the system is.
type Condition string

// The conditions, from best to worst.
const (
	OK        Condition = "ok"
	Attention Condition = "attention" // an operator should look at it
	Trouble   Condition = "trouble"   // cloudIDs are being lost
)

// AlertCode identifies the kind of an alert.
type AlertCode string

// The alerts.
const (
	NoWorker         AlertCode = "no_worker"         // no worker process is alive
	OldCloudIDs      AlertCode = "old_cloudids"      // a waiting cloudID has little of its lifetime left
	ManyLost         AlertCode = "many_lost"         // many cloudIDs fail or expire
	AppsPaused       AlertCode = "apps_paused"       // some apps are paused
	WebhooksDisabled AlertCode = "webhooks_disabled" // some endpoints are disabled; their results wait
	WebhooksFailing  AlertCode = "webhooks_failing"  // some endpoints fail; their results do not arrive
)

// Alert is a problem that an operator should look at.
type Alert struct {
	Code      AlertCode `json:"code" enum:"no_worker,old_cloudids,many_lost,apps_paused,webhooks_disabled,webhooks_failing"`
	Condition Condition `json:"condition" enum:"attention,trouble"`
	Count     int       `json:"count,omitzero" doc:"number of affected apps or webhooks; for many_lost, the percentage of cloudIDs"`
}

// Thresholds of the alerts.
const (
	oldAttention = 0.5 // age of the oldest cloudID, as a share of the lifetime
	oldTrouble   = 0.8
	// lostMinimum is the number of finished cloudIDs in the last minute below which the percentage is
	// not significant.
	lostMinimum   = 20
	lostAttention = 20 // percent of cloudIDs that failed or expired
	lostTrouble   = 50
)

// setAlerts sets the alerts and the overall condition.
func (s *Status) setAlerts() {
	s.Alerts = []Alert{}
	add := func(code AlertCode, condition Condition, count int) {
		s.Alerts = append(s.Alerts, Alert{code, condition, count})
	}
	if s.Workers == 0 {
		add(NoWorker, Trouble, 0)
	}
	switch age, life := float64(s.Total.Oldest), float64(s.Lifetime); {
	case age > oldTrouble*life:
		add(OldCloudIDs, Trouble, 0)
	case age > oldAttention*life:
		add(OldCloudIDs, Attention, 0)
	}
	lost, finished := s.Total.lastMinute()
	if finished >= lostMinimum && 100*lost >= lostAttention*finished {
		condition := Attention
		if 100*lost >= lostTrouble*finished {
			condition = Trouble
		}
		add(ManyLost, condition, int(100*lost/finished))
	}
	if len(s.Pauses) > 0 {
		add(AppsPaused, Attention, len(s.Pauses))
	}
	for _, kind := range []struct {
		state string
		code  AlertCode
	}{{"disabled", WebhooksDisabled}, {"failing", WebhooksFailing}} {
		n := 0
		for _, hook := range s.Webhooks {
			if hook.State == kind.state {
				n++
			}
		}
		if n > 0 {
			add(kind.code, Attention, n)
		}
	}
	slices.SortStableFunc(s.Alerts, func(a, b Alert) int { return cmp.Compare(b.Condition.rank(), a.Condition.rank()) })
	s.Condition = OK
	if len(s.Alerts) > 0 {
		s.Condition = s.Alerts[0].Condition
	}
}

func (c Condition) rank() int { return slices.Index([]Condition{OK, Attention, Trouble}, c) }

// lastMinute returns how many cloudIDs failed or expired in the last minute, and how many got any
// final status.
func (a *AppStatus) lastMinute() (lost, finished int64) {
	steps := int(time.Minute / activity.SeriesStep)
	sum := func(points []int64) (n int64) {
		for _, p := range points[max(0, len(points)-steps):] {
			n += p
		}
		return n
	}
	lost = sum(a.Series.Failed) + sum(a.Series.Expired)
	return lost, lost + sum(a.Series.Resolved)
}
