package worker

import (
	"context"
	"errors"
	"time"

	"cloudidq/internal/queue"
	"cloudidq/store"
	"cloudidq/tasks"
)

// This file finishes cloudIDs outside of an attempt. Their tasks are no longer given to a
// worker, because asynq has given the task up, or because an operator has archived or deleted
// it. The code works like an attempt that sends no requests to WeChat: it takes the same steps
// under the same task id. If the task is attempted again after all, that attempt finds the
// cloudIDs done.

// busyRetry is the delay before the next check of a cloudID that another task has claimed.
const busyRetry = 5 * time.Second

var _ queue.Finisher = (*resolver)(nil)

// FinishOverdue implements [queue.Finisher]. The task must not wait in a queue.
func (h *resolver) FinishOverdue(
	ctx context.Context, taskID string, p tasks.ResolvePayload,
) (queue.Open, error) {
	r := newResolution(h, taskID, p)
	if err := r.tally(ctx, r.finishWithoutRequest(ctx, "")); err != nil {
		return queue.Open{}, err
	}
	return r.stillOpen(time.Now()), nil
}

// CountUnreadable implements [queue.Finisher].
func (h *resolver) CountUnreadable(ctx context.Context, taskID string) error {
	return h.bulk.lost(ctx, taskID)
}

// failAll finishes all open cloudIDs of a task as failed and returns their number. A cloudID
// that another task has claimed is left to that task. If the task is a chunk of a backfill, the
// backfill counts such a cloudID as failed.
func (h *resolver) failAll(
	ctx context.Context, taskID string, p tasks.ResolvePayload, why string,
) (int, error) {
	r := newResolution(h, taskID, p)
	if err := r.tally(ctx, r.finishWithoutRequest(ctx, why)); err != nil {
		return 0, err
	}
	finished := r.newlyFinished
	if r.part != nil {
		if err := h.bulk.lost(ctx, taskID); err != nil {
			return finished, r.storeTrouble(ctx, err)
		}
	}
	return finished, nil
}

// finishWithoutRequest finishes open cloudIDs without a request to WeChat. It finishes those past
// their lifetime and those of a canceled backfill, and all if why is not empty. Its claim has
// no length, so it lapses at once.
func (r *resolution) finishWithoutRequest(ctx context.Context, why string) error {
	if err := r.checkCanceled(ctx); err != nil {
		return err
	}
	if r.h.apps != nil {
		// The lookup makes the app's endpoint known if the app belongs to a merchant.
		if err := r.h.apps.lookUp(ctx, r.payload.AppID); errors.Is(err, errNoLookup) {
			return r.storeTrouble(ctx, err)
		}
	}
	if err := r.claim(ctx, 0); err != nil {
		return r.storeTrouble(ctx, err)
	}
	now := time.Now()
	r.expireOverdue(now)
	r.failCanceled(now)
	for i := range r.items {
		if it := &r.items[i]; it.open && why != "" {
			r.finish(it, store.Failed, finalError(it, why), now)
		}
	}
	r.newlyFinished = len(r.unsaved)
	return r.save(ctx)
}

// stillOpen returns what finishWithoutRequest has left open.
func (r *resolution) stillOpen(now time.Time) queue.Open {
	var open queue.Open
	for i := range r.items {
		it := &r.items[i]
		if it.finalStatus.Final() {
			continue
		}
		next := it.sendBy
		// Another task has claimed it.
		if !it.open {
			next = now.Add(busyRetry)
		}
		open.CloudIDs++
		if open.Next.IsZero() || next.Before(open.Next) {
			open.Next = next
		}
	}
	return open
}
