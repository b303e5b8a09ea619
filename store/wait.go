package store

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/trace"
)

// How often Wait looks: soon at first, since an answer takes tens of milliseconds, then ever less.
const (
	waitFirst  = 2 * time.Millisecond
	waitLast   = 100 * time.Millisecond
	waitGrowth = 1.5
)

// Wait returns the records of cloudIDs, in order, as soon as all have ended: resolved at any time, or failed or expired in
// another way than before. So the failure of a former ask is not taken for the answer to this one; before is what
// [EndsSoFar] has said ahead of asking, and the zero FormerEnds take any end.
//
// It looks again for the open ones only. When ctx ends first it returns ctx's error, and with another error that one,
// both together with the records as last seen: some may be pending or unknown (empty Status), as is what only a former ask
// has ended.
func Wait(ctx context.Context, r Results, appID string, cloudIDs []string, before FormerEnds) ([]Record, error) {
	records := make([]Record, len(cloudIDs))
	open := make([]int, len(cloudIDs)) // indexes into cloudIDs
	for i := range open {
		open[i] = i
	}

	ctx = trace.ContextWithSpanContext(ctx, trace.SpanContext{}) // hundreds of looks are no part of a trace
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

		still := open[:0]
		for i, at := range open {
			records[at] = found[i]
			if before.answeredBy(at, &found[i]) {
				continue
			}
			if found[i].Status.Final() {
				records[at] = Record{} // of a former ask
			}
			still = append(still, at)
		}
		open = still
		timer.Reset(interval)
	}
	return records, nil
}
