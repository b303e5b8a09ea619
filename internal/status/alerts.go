package status

import (
	"cmp"
	"slices"
	"time"

	"cloudidq/store"
)

// Condition says how bad things are.
type Condition string

// The conditions, the best first.
const (
	OK        Condition = "ok"
	Attention Condition = "attention" // somebody should look at it
	Trouble   Condition = "trouble"   // cloudIDs are being lost
)

// AlertCode says what an alert is about.
type AlertCode string

// The alerts.
const (
	NoWorker         AlertCode = "no_worker"         // no worker process is alive
	OldCloudIDs      AlertCode = "old_cloudids"      // the oldest one that waits has little of its life left
	ManyLost         AlertCode = "many_lost"         // many fail or expire
	AppsPaused       AlertCode = "apps_paused"       // nothing is sent for some
	WebhooksDisabled AlertCode = "webhooks_disabled" // results are held
	WebhooksFailing  AlertCode = "webhooks_failing"  // results do not arrive
)

// Alert is something that somebody should look at.
type Alert struct {
	Code      AlertCode `json:"code" enum:"no_worker,old_cloudids,many_lost,apps_paused,webhooks_disabled,webhooks_failing"`
	Condition Condition `json:"condition" enum:"attention,trouble"`
	Count     int       `json:"count,omitzero" doc:"how many apps or webhooks it concerns; with many_lost, how many of a hundred"`
}

// When an alert begins.
const (
	oldAttention = 0.5 // of the lifetime
	oldTrouble   = 0.8
	lostEnough   = 20 // ends in the last minute; of fewer, a share says little
	lostMany     = 20 // of a hundred
	lostMost     = 50
)

// judge finds what is wrong.
func (s *Status) judge() {
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
	if lost, ended := s.Total.lately(); ended >= lostEnough && 100*lost >= lostMany*ended {
		condition := Attention
		if 100*lost >= lostMost*ended {
			condition = Trouble
		}
		add(ManyLost, condition, int(100*lost/ended))
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

// lately is how many cloudIDs have ended badly, and in all, in the last minute.
func (a *AppStatus) lately() (lost, ended int64) {
	steps := int(time.Minute / store.SeriesStep)
	sum := func(points []int64) (n int64) {
		for _, p := range points[max(0, len(points)-steps):] {
			n += p
		}
		return n
	}
	lost = sum(a.Series.Failed) + sum(a.Series.Expired)
	return lost, lost + sum(a.Series.Resolved)
}
