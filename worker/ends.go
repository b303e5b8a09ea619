package worker

import (
	"context"
	"errors"
	"time"

	"cloudidq/store"
	"cloudidq/tasks"
)

// This file ends cloudIDs outside of a try: those of tasks that no worker is given any more, since asynq has given the task
// up or an operator has archived or deleted it. It is a try that asks nobody, by the same steps and under the same task id:
// should the task come back after all, it finds them done.

// openEnds are the cloudIDs of a task that have no end yet.
type openEnds struct {
	n     int
	again time.Time // when the next of them may be ended; zero if n is 0
}

// busyAgain is how long it is waited for another task that is asking for the same cloudID.
const busyAgain = 5 * time.Second

// endOutlivedOf ends what has outlived its lifetime of a task that waits in no queue, and returns what is still open.
func (h *resolver) endOutlivedOf(ctx context.Context, taskID string, p tasks.ResolvePayload) (openEnds, error) {
	r := newResolution(h, taskID, p)
	if err := r.tally(ctx, r.endWithoutAsking(ctx, "")); err != nil {
		return openEnds{}, err
	}
	return r.stillOpen(time.Now()), nil
}

// endAllOf ends all that is open of a task as failed, and returns how many cloudIDs that were. What another task is asking
// for is left to that one; a backfill counts it as failed.
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

// endWithoutAsking claims what is open for no longer than this takes, ends what has outlived its lifetime or is of a
// backfill that was canceled, and with a reason everything.
func (r *resolution) endWithoutAsking(ctx context.Context, why string) error {
	if err := r.lookUp(ctx); err != nil {
		return err
	}
	if r.h.apps != nil {
		// So that a merchant's app has its endpoint.
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

// stillOpen is what a try that has asked nobody leaves open.
func (r *resolution) stillOpen(now time.Time) openEnds {
	var open openEnds
	for i := range r.items {
		it := &r.items[i]
		if it.ended.Final() {
			continue
		}
		again := it.sendBy
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
