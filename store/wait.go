package store

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/trace"
)

// How often Wait looks the records up: soon at first, since an answer takes tens of
// milliseconds, then less and less often.
const (
	waitFirst  = 2 * time.Millisecond
	waitLast   = 100 * time.Millisecond
	waitGrowth = 1.5
)

// Wait polls r until every cloudID has been completed, and returns the records in order. A
// resolved record always counts. A failed or expired record counts only if before does not
// contain it, so that Wait does not take the failure of an earlier request for the answer to
// this one. before is the result of [FinalsSoFar] from before the request. With the zero
// EarlierFinals every final status counts.
//
// Wait looks up only the cloudIDs that are still open. If ctx ends first, Wait returns the
// error of ctx. If a lookup fails, Wait returns the error of the lookup. With either error it
// also returns the records as last seen. Some of them may be pending or unknown (empty Status).
// A cloudID that only an earlier request has completed is unknown.
func Wait(
	ctx context.Context, r Results, appID string, cloudIDs []string, before EarlierFinals,
) ([]Record, error) {
	records := make([]Record, len(cloudIDs))
	open := make([]int, len(cloudIDs)) // indexes of the cloudIDs that are still open
	for i := range open {
		open[i] = i
	}

	ctx = trace.ContextWithSpanContext(ctx, trace.SpanContext{}) // keep hundreds of lookups out of the trace
	timer := time.NewTimer(0)
	defer timer.Stop()
	for interval := waitFirst; len(open) > 0; interval = min(time.Duration(float64(interval)*waitGrowth), waitLast) {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return records, ctx.Err()
		}

		ids := make([]string, len(open))
		for i, at := range open {
			ids[i] = cloudIDs[at]
		}
		found, err := r.Lookup(ctx, appID, ids)
		if err != nil && ctx.Err() != nil {
			return records, ctx.Err()
		}
		if err != nil {
			return records, err
		}

		// Keep only the cloudIDs that are still open.
		still := open[:0]
		for i, at := range open {
			records[at] = found[i]
			if before.answeredBy(at, &found[i]) {
				continue
			}
			if found[i].Status.Final() {
				records[at] = Record{} // the result of an earlier request
			}
			still = append(still, at)
		}
		open = still
		timer.Reset(interval)
	}
	return records, nil
}
