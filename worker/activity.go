package worker

import (
	"context"
	"log/slog"
	"time"

	"cloudidq/internal/wechat"
	"cloudidq/store"
)

// activity counts what the status page shows; [store.Activity] implements it. Ended and Sent do
// not block.
type activity interface {
	// Ended is called for each cloudID whose final record was saved. took is the time since its
	// acceptance.
	Ended(appID string, status store.Status, took time.Duration)
	// Sent is called after each call of WeChat. requests is the number of requests that the
	// call made, and cloudIDs the number of cloudIDs in them.
	Sent(appID string, requests, cloudIDs int)
	// Run passes the counts on to the other processes until ctx ends. It outlives the handlers.
	Run(ctx context.Context, log *slog.Logger)
}

// untold discards activity reports.
type untold struct{}

func (untold) Ended(string, store.Status, time.Duration) {}
func (untold) Sent(string, int, int)                     {}
func (untold) Run(context.Context, *slog.Logger)         {}

// tellEnds reports the final records among records, which were saved.
func tellEnds(a activity, records []store.Record) {
	for i := range records {
		if rec := &records[i]; rec.Status.Final() {
			a.Ended(rec.AppID, rec.Status, rec.FinishedAt.Sub(rec.AcceptedAt.Time))
		}
	}
}

// tellSent reports a call of WeChat, from its outcomes. Only open cloudIDs are repeated within
// a call. So the cloudID that was sent most often was in every request.
func tellSent(a activity, appID string, outcomes []wechat.Outcome) {
	requests, cloudIDs := 0, 0
	for i := range outcomes {
		requests = max(requests, outcomes[i].Attempts)
		cloudIDs += outcomes[i].Attempts
	}
	if requests > 0 {
		a.Sent(appID, requests, cloudIDs)
	}
}

var _ activity = (*store.Activity)(nil)
