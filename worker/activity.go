package worker

import (
	"context"
	"log/slog"
	"time"

	"cloudidq/internal/activity"
	"cloudidq/store"
)

// recorder counts what the status page shows; [activity.Recorder] implements it. Finished and Sent do
// not block.
type recorder interface {
	// Finished is called for each cloudID whose final record was saved. took is the time since its
	// acceptance.
	Finished(appID string, status store.Status, took time.Duration)
	// Sent is called after each call of WeChat. requests is the number of requests that the
	// call made, and cloudIDs the number of cloudIDs in them.
	Sent(appID string, requests, cloudIDs int)
	// Run passes the counts on to the other processes until ctx ends. It outlives the handlers.
	Run(ctx context.Context, log *slog.Logger)
}

// noActivity discards activity reports.
type noActivity struct{}

func (noActivity) Finished(string, store.Status, time.Duration) {}
func (noActivity) Sent(string, int, int)                        {}
func (noActivity) Run(context.Context, *slog.Logger)            {}

// reportFinished reports the final records among records, which were saved.
func reportFinished(a recorder, records []store.Record) {
	for i := range records {
		if rec := &records[i]; rec.Status.Final() {
			a.Finished(rec.AppID, rec.Status, rec.FinishedAt.Sub(rec.AcceptedAt.Time))
		}
	}
}

var _ recorder = (*activity.Recorder)(nil)
