package worker

import (
	"context"
	"errors"
	"time"

	"cloudidq/store"
	"cloudidq/tasks"
)

// This file finishes cloudIDs outside of an attempt. Their tasks are no longer given to a
// worker, because asynq has given the task up, or because an operator has archived or deleted
// it. The code works like an attempt that sends no requests to WeChat: it takes the same steps
// under the same task id. If the task is attempted again after all, that attempt finds the
// cloudIDs done.

// openEnds describes the cloudIDs of a task that are not finished yet.
type openEnds struct {
	n     int
	again time.Time // when the next of them may be finished; zero if n is 0
}

// busyAgain is the delay before the next check of a cloudID that another task has claimed.
const busyAgain = 5 * time.Second

// endOutlivedOf finishes the cloudIDs of a task that are past their lifetime. The task must not
// wait in a queue. It returns what is still open.
func (h *resolver) endOutlivedOf(ctx context.Context, taskID string, p tasks.ResolvePayload) (openEnds, error) {
	r := newResolution(h, taskID, p)
	if err := r.tally(ctx, r.endWithoutAsking(ctx, "")); err != nil {
		return openEnds{}, err
	}
	return r.stillOpen(time.Now()), nil
}

// endAllOf finishes all open cloudIDs of a task as failed and returns their number. A cloudID
// that another task has claimed is left to that task. If the task is a chunk of a backfill, the
// backfill counts such a cloudID as failed.
func (h *resolver) endAllOf(ctx context.Context, taskID string, p tasks.ResolvePayload, why string) (int, error) {
	r := newResolution(h, taskID, p)
	if err := r.tally(ctx, r.endWithoutAsking(ctx, why)); err != nil {
		return 0, err
	}
	ended := r.endedNow
	if r.part != nil {
		if err := h.bulk.lost(ctx, taskID); err != nil {
			return ended, r.storeTrouble(ctx, err)
		}
	}
	return ended, nil
}

// endWithoutAsking finishes open cloudIDs without a request to WeChat. It finishes those past
// their lifetime and those of a canceled backfill, and all if why is not empty. Its claim has
// no length, so it lapses at once.
func (r *resolution) endWithoutAsking(ctx context.Context, why string) error {
	if err := r.lookUp(ctx); err != nil {
		return err
	}
	if r.h.apps != nil {
		// The lookup makes the app's endpoint known if the app belongs to a merchant.
		if _, why := r.h.apps.know(ctx, r.payload.AppID); errors.Is(why, errNoLookup) {
			return r.storeTrouble(ctx, why)
		}
	}
	if err := r.claim(ctx, 0); err != nil {
		return r.storeTrouble(ctx, err)
	}
	now := time.Now()
	r.endOutlived(now)
	r.endCanceled(now)
	for i := range r.items {
		if it := &r.items[i]; it.open && why != "" {
			r.end(it, store.Failed, lastWords(it, why), now)
		}
	}
	r.endedNow = len(r.unsaved)
	return r.save(ctx)
}

// stillOpen returns what endWithoutAsking has left open.
func (r *resolution) stillOpen(now time.Time) openEnds {
	var open openEnds
	for i := range r.items {
		it := &r.items[i]
		if it.ended.Final() {
			continue
		}
		again := it.sendBy
		// Another task has claimed it.
		if !it.open {
			again = now.Add(busyAgain)
		}
		open.n++
		if open.again.IsZero() || again.Before(open.again) {
			open.again = again
		}
	}
	return open
}
