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
	Condition Condition        `json:"condition" enum:"ok,attention,trouble" doc:"condition of the worst alert"`
	Alerts    []Alert          `json:"alerts" nullable:"false" doc:"problems that an operator should look at, the worst first"`
	Workers   int              `json:"workers" doc:"number of live worker processes"`
	Lifetime  int64            `json:"lifetime_ms" doc:"lifetime of a cloudID"`
	Window    int64            `json:"window_ms" doc:"time covered by the counts"`
	Step      int64            `json:"step_ms" doc:"time covered by one point of a series"`
	Total     AppStatus        `json:"total" doc:"all apps that the key may see together; without appid"`
	Apps      []AppStatus      `json:"apps" nullable:"false" doc:"paused apps first, then the busiest"`
	LeftOut   int              `json:"apps_left_out" doc:"number of apps beyond limit; total includes them"`
	Pauses    []PauseStatus    `json:"pauses" nullable:"false"`
	Queues    []QueueStatus    `json:"queues" nullable:"false" doc:"only for keys of all apps"`
	Backfills []BackfillStatus `json:"backfills" nullable:"false" doc:"in progress, or finished recently"`
	Webhooks  []WebhookStatus  `json:"webhooks" nullable:"false" doc:"for a key of some apps: the endpoints that receive results of these apps"`
	// More reports that some deliveries were not counted.
	More bool `json:"deliveries_more" doc:"not all deliveries were counted"`
}

// AppStatus is the activity of an app within the window.
type AppStatus struct {
	AppID     string  `json:"appid,omitempty"`
	Resolved  int64   `json:"resolved" doc:"cloudIDs with this final status"`
	Failed    int64   `json:"failed"`
	Expired   int64   `json:"expired"`
	PerSecond float64 `json:"per_second" doc:"cloudIDs finished per second, in the last minute"`
	Requests  int64   `json:"requests" doc:"requests to WeChat"`
	Sent      int64   `json:"sent" doc:"cloudIDs in these requests; a repeated cloudID counts each time"`
	// PerCloudID is the number of requests to WeChat per finished cloudID.
	PerCloudID float64 `json:"requests_per_cloudid,omitzero" doc:"requests per finished cloudID; absent if there are none"`
	P50        float64 `json:"p50_ms,omitzero" doc:"time from acceptance to the final status; absent without a finished cloudID"`
	P99        float64 `json:"p99_ms,omitzero"`
	// Oldest is the age of the oldest waiting cloudID that was seen, in milliseconds.
	Oldest int64     `json:"oldest_ms,omitzero" doc:"age of the oldest cloudID in a sample of the waiting tasks, which includes those that wait longest"`
	Paused bool      `json:"paused"`
	Series EndSeries `json:"series"`
}

// EndSeries counts the finished cloudIDs per step, the oldest step first.
type EndSeries struct {
	Resolved []int64 `json:"resolved" nullable:"false"`
	Failed   []int64 `json:"failed" nullable:"false"`
	Expired  []int64 `json:"expired" nullable:"false"`
}

// Finished returns how many cloudIDs have a final status.
func (a *AppStatus) Finished() int64 { return a.Resolved + a.Failed + a.Expired }

// PauseStatus describes the pause of an app.
type PauseStatus struct {
	AppID   string     `json:"appid"`
	State   string     `json:"state" enum:"paused,probing" doc:"probing: the pause is over, and one request tests whether the cause is gone"`
	Reason  string     `json:"reason" enum:"rate,quota,app" doc:"quota per minute, daily quota, or permission and configuration"`
	ErrCode int        `json:"errcode"`
	Text    string     `json:"text" doc:"meaning of the errcode"`
	Remedy  string     `json:"remedy" doc:"what an operator can do"`
	Times   int        `json:"times" doc:"pauses in a row"`
	Since   store.Time `json:"since" doc:"start of the first of these pauses"`
	Until   store.Time `json:"until"`
}

// QueueStatus counts the tasks of a queue by state.
type QueueStatus struct {
	Name     string `json:"queue"`
	Pending  int    `json:"pending"`
	Active   int    `json:"active"`
	Retry    int    `json:"retry" doc:"includes scheduled tasks"`
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

// Finished returns how many cloudIDs of the backfill have a final status.
func (b BackfillStatus) Finished() int64 { return b.Resolved + b.Failed + b.Expired }

// WebhookStatus is the state of a webhook endpoint.
type WebhookStatus struct {
	Name      string     `json:"webhook"`
	State     string     `json:"state" enum:"ok,failing,disabled"`
	Reason    string     `json:"reason,omitempty" doc:"why the endpoint is disabled"`
	Since     store.Time `json:"since,omitzero" doc:"since when the endpoint is disabled or every attempt fails"`
	Pending   int        `json:"pending" doc:"deliveries that are still attempted"`
	Held      int        `json:"held" doc:"deliveries on hold until the endpoint is enabled"`
	Exhausted int        `json:"exhausted" doc:"deliveries whose last attempt has failed"`
}
