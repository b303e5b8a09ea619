// Package status shows how cloudidq performs, as JSON and as a page. It covers finished cloudIDs
// and their latency, waiting cloudIDs, pauses and their reasons, and webhooks that fail.
//
// [Collector] reads from Redis what all processes have recorded there (mainly [activity.Recorder]).
// It reads at most once per second, regardless of the number of viewers. [Collector.For] returns
// the part that a caller may see. [Page] renders it as HTML. Nothing here identifies a user: no
// cloudID, no openid, no data.
package status

import (
	"cloudidq/store"
)

// Status is the state of the system, as one caller may see it.
type Status struct {
	At        store.Time       `json:"at"`
	Condition Condition        `json:"condition" enum:"ok,attention,trouble" doc:"the worst of alerts"`
	Alerts    []Alert          `json:"alerts" nullable:"false" doc:"what somebody should look at; the worst first"`
	Workers   int              `json:"workers" doc:"worker processes that are alive"`
	Lifetime  int64            `json:"lifetime_ms" doc:"of a cloudID"`
	Window    int64            `json:"window_ms" doc:"the time that counts are of"`
	Step      int64            `json:"step_ms" doc:"the time that a point of a series is of"`
	Total     AppStatus        `json:"total" doc:"of all apps that the key reaches; without appid"`
	Apps      []AppStatus      `json:"apps" nullable:"false" doc:"paused ones first, then the busiest"`
	LeftOut   int              `json:"apps_left_out" doc:"apps beyond limit; total counts them"`
	Pauses    []PauseStatus    `json:"pauses" nullable:"false"`
	Queues    []QueueStatus    `json:"queues" nullable:"false" doc:"only for keys that reach all apps"`
	Backfills []BackfillStatus `json:"backfills" nullable:"false" doc:"under way, or ended a short while ago"`
	Webhooks  []WebhookStatus  `json:"webhooks" nullable:"false" doc:"for a key of some apps: those that results of these go to"`
	// More reports that some deliveries were not counted.
	More bool `json:"deliveries_more" doc:"there are more deliveries than were counted"`
}

// AppStatus is the activity of an app within the window.
type AppStatus struct {
	AppID     string  `json:"appid,omitempty"`
	Resolved  int64   `json:"resolved" doc:"cloudIDs that ended so"`
	Failed    int64   `json:"failed"`
	Expired   int64   `json:"expired"`
	PerSecond float64 `json:"per_second" doc:"ends, in the last minute"`
	Requests  int64   `json:"requests" doc:"to WeChat"`
	Sent      int64   `json:"sent" doc:"cloudIDs in those; one that is repeated counts each time"`
	// PerCloudID is the number of requests to WeChat per finished cloudID.
	PerCloudID float64 `json:"requests_per_cloudid,omitzero" doc:"requests by ends; absent without either"`
	P50        float64 `json:"p50_ms,omitzero" doc:"from acceptance to the end; absent without an end"`
	P99        float64 `json:"p99_ms,omitzero"`
	// Oldest is the age of the oldest waiting cloudID that was seen, in milliseconds.
	Oldest int64     `json:"oldest_ms,omitzero" doc:"age of the oldest cloudID among the tasks that were looked at: those that wait longest, and some of the others"`
	Paused bool      `json:"paused"`
	Series EndSeries `json:"series"`
}

// EndSeries counts the finished cloudIDs per step, the oldest step first.
type EndSeries struct {
	Resolved []int64 `json:"resolved" nullable:"false"`
	Failed   []int64 `json:"failed" nullable:"false"`
	Expired  []int64 `json:"expired" nullable:"false"`
}

// Ended returns how many cloudIDs have a final status.
func (a *AppStatus) Ended() int64 { return a.Resolved + a.Failed + a.Expired }

// PauseStatus describes the pause of an app.
type PauseStatus struct {
	AppID   string     `json:"appid"`
	State   string     `json:"state" enum:"paused,probing" doc:"probing: the pause has ended, and one request finds out whether the trouble is over"`
	Reason  string     `json:"reason" enum:"rate,quota,app" doc:"the quota of the minute, that of the day, or permission and configuration"`
	ErrCode int        `json:"errcode"`
	Text    string     `json:"text" doc:"what the errcode means"`
	Remedy  string     `json:"remedy" doc:"what an operator does about it"`
	Times   int        `json:"times" doc:"pauses in a row"`
	Since   store.Time `json:"since" doc:"of the first in the row"`
	Until   store.Time `json:"until"`
}

// QueueStatus counts the tasks of a queue by state.
type QueueStatus struct {
	Name     string `json:"queue"`
	Pending  int    `json:"pending"`
	Active   int    `json:"active"`
	Retry    int    `json:"retry" doc:"with those that begin later"`
	Archived int    `json:"archived"`
}

// BackfillStatus is the state of a backfill.
type BackfillStatus struct {
	AppID    string     `json:"appid"`
	State    string     `json:"state" enum:"open,complete,canceled"`
	Created  store.Time `json:"created_at"`
	Accepted int64      `json:"accepted" doc:"lines"`
	Rejected int64      `json:"rejected"`
	Resolved int64      `json:"resolved"`
	Failed   int64      `json:"failed"`
	Expired  int64      `json:"expired"`
}

// Ended returns how many cloudIDs of the backfill have a final status.
func (b BackfillStatus) Ended() int64 { return b.Resolved + b.Failed + b.Expired }

// WebhookStatus is the state of a webhook endpoint.
type WebhookStatus struct {
	Name      string     `json:"webhook"`
	State     string     `json:"state" enum:"ok,failing,disabled"`
	Reason    string     `json:"reason,omitempty" doc:"why it is disabled"`
	Since     store.Time `json:"since,omitzero" doc:"since when it is disabled, or nothing but failing"`
	Pending   int        `json:"pending" doc:"deliveries that are tried until they arrive"`
	Held      int        `json:"held" doc:"deliveries that wait for the endpoint to be enabled"`
	Exhausted int        `json:"exhausted" doc:"deliveries that have failed for the last time"`
}
