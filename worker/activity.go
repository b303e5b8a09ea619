package worker

import (
	"context"
	"log/slog"
	"time"

	"cloudidq/internal/wechat"
	"cloudidq/store"
)

// activity is what the status page is told; [store.Activity] is one. Neither method waits for anything.
type activity interface {
	// Ended is called for each cloudID whose end has been saved, with the time since its acceptance.
	Ended(appID string, status store.Status, took time.Duration)
	// Sent is called after each call of WeChat with the requests it made and the cloudIDs in them.
	Sent(appID string, requests, cloudIDs int)
	// Run tells the others what has been counted, until ctx ends. It outlives the handlers.
	Run(ctx context.Context, log *slog.Logger)
}

// untold is the activity of a worker that tells nobody.
type untold struct{}

func (untold) Ended(string, store.Status, time.Duration) {}
func (untold) Sent(string, int, int)                     {}
func (untold) Run(context.Context, *slog.Logger)         {}

// tellEnds tells of the ends among records that have been saved.
func tellEnds(a activity, records []store.Record) {
	for i := range records {
		if rec := &records[i]; rec.Status.Final() {
			a.Ended(rec.AppID, rec.Status, rec.FinishedAt.Sub(rec.AcceptedAt.Time))
		}
	}
}

// tellSent tells of a call by its outcomes. What is repeated in it is what is still open, so the cloudID that was sent
// most often was in every request.
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
