package demo

import (
	"bytes"
	"slices"
	"time"

	"cloudidq/internal/wechat/wechattest"
	"cloudidq/store"
)

// Report is the result of a run, and the object that `demo --json` prints.
type Report struct {
	Accepted int `json:"accepted"`
	Resolved int `json:"resolved"`
	Failed   int `json:"failed"`
	Expired  int `json:"expired"`
	// Wrong counts records that differ from what the simulator knows. It also counts requests
	// that a correct client never sends: with cloudIDs of two users, after the lifetime, or for
	// a cloudID that was already resolved.
	Wrong           int     `json:"wrong"`
	Requests        int64   `json:"requests"`
	CloudIDsPerReq  float64 `json:"cloudids_per_request"`
	Retries         int     `json:"retries"` // number of times a cloudID was sent again
	P50Milliseconds float64 `json:"p50_ms"`  // from acceptance to the final status
	P99Milliseconds float64 `json:"p99_ms"`
	Seconds         float64 `json:"seconds"`
}

// newReport compares the records with the simulator's truth and returns the report.
func newReport(sim *wechattest.Simulator, taps []wechattest.Tap, records []store.Record, seconds float64) Report {
	stats := sim.Stats()
	r := Report{Accepted: len(taps), Requests: stats.Requests, Seconds: seconds}
	if stats.Requests > 0 {
		r.CloudIDsPerReq = float64(stats.CloudIDs) / float64(stats.Requests)
	}
	took := make([]time.Duration, len(records))
	for i, rec := range records {
		r.count(rec)
		if !matches(rec, sim.Truth(taps[i].AppID, taps[i].OpenID, taps[i].CloudID)) {
			r.Wrong++
		}
		took[i] = rec.FinishedAt.Sub(rec.AcceptedAt.Time)
	}
	v := stats.Violations
	r.Wrong += int(v.MixedOpenIDs + v.AfterDeadline + v.AfterResolved)
	slices.Sort(took)
	r.P50Milliseconds, r.P99Milliseconds = quantile(took, 50), quantile(took, 99)
	return r
}

func (r *Report) count(rec store.Record) {
	r.Retries += max(0, rec.Attempts-1)
	switch rec.Status {
	case store.Resolved:
		r.Resolved++
	case store.Failed:
		r.Failed++
	case store.Expired:
		r.Expired++
	case store.Pending: // impossible: watch waits until no record is pending
	}
}

// matches reports whether a record equals the truth, byte for byte.
func matches(rec store.Record, truth wechattest.Truth) bool {
	if string(rec.Status) != truth.Status || rec.Kind != truth.Kind || !bytes.Equal(rec.Data, truth.Data) {
		return false
	}
	if rec.Status == store.Resolved {
		return rec.Error == nil
	}
	return rec.Error != nil && rec.Error.Code == truth.Code
}

// quantile returns a percentile of sorted durations, in milliseconds.
func quantile(sorted []time.Duration, percent int) float64 {
	if len(sorted) == 0 {
		return 0
	}
	at := min(len(sorted)-1, len(sorted)*percent/100)
	return float64(sorted[at].Microseconds()) / 1000
}
