package worker

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/redis/go-redis/v9"

	"cloudidq/internal/backfill"
	"cloudidq/internal/queue"
	"cloudidq/store"
	"cloudidq/tasks"
)

// openTasks is the part of [store.OpenTasks] that the worker uses.
type openTasks interface {
	Note(ctx context.Context, task store.OpenTask, due time.Time) error
	Due(ctx context.Context, now time.Time, most int) ([]store.OpenTask, error)
	Forget(ctx context.Context, taskIDs ...string) error
}

// stalled is the part of [backfill.Store] that finds backfills without progress and
// their open chunks.
type stalled interface {
	Stalled(ctx context.Context, since time.Time, done map[string]bool) ([]backfill.Backfill, error)
	OpenChunks(ctx context.Context, of *backfill.Backfill, from, most int) (
		open []backfill.OpenChunk, more bool, err error)
}

const (
	vanishedEvery = 5 * time.Second
	vanishedPage  = 100
	// stalledEvery is how often stalled backfills are checked for chunks whose task is gone. For a
	// backfill that stays stalled, the interval doubles after each check, up to stalledLast.
	stalledEvery = 30 * time.Second
	stalledLast  = 10 * time.Minute
)

// vanished gives a final status to cloudIDs whose task has vanished from the queue, for example
// because another tool deleted it. No worker would ever process them. It finds them in two ways:
// by the open cloudIDs that earlier attempts noted, and by the chunks of stalled backfills.
//
// Every worker process runs one. CloudIDs that another process has finished are done.
type vanished struct {
	rdb      redis.UniversalClient
	open     openTasks     // nil = attempts note nothing
	stalled  stalled       // nil = no backfills
	results  store.Results // its Lookup finishes overdue records
	finisher *resolver
	lifetime time.Duration
	log      *slog.Logger

	done map[string]bool      // backfills that have finished
	next map[string]nextCheck // by id: the next check of a stalled backfill
}

// nextCheck is the time of the next check, and the interval before it.
type nextCheck struct {
	at    time.Time
	after time.Duration
}

func newVanished(finisher *resolver, parts Parts) *vanished {
	v := &vanished{
		rdb: parts.Queue, open: parts.Open, results: parts.Results,
		finisher: finisher, lifetime: finisher.lifetime, log: parts.Log,
		done: make(map[string]bool),
	}
	v.stalled, _ = parts.Backfills.(stalled)
	return v
}

// run checks until ctx ends. It logs errors.
func (v *vanished) run(ctx context.Context) {
	tick, slow := time.NewTicker(vanishedEvery), time.NewTicker(stalledEvery)
	defer tick.Stop()
	defer slow.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			err = v.finishOverdue(ctx, v.finisher.clock.Now())
		case <-slow.C:
			err = v.finishStalled(ctx, time.Now())
		}
		if err != nil && !errors.Is(err, context.Canceled) {
			v.log.Error("cannot finish the cloudIDs of vanished tasks", "error", err)
		}
	}
}

// finishOverdue looks up the noted cloudIDs that are overdue. The look-up itself gives them their
// final status ([store.Timely]).
func (v *vanished) finishOverdue(ctx context.Context, now time.Time) error {
	for v.open != nil {
		due, err := v.open.Due(ctx, now, vanishedPage)
		if err != nil {
			return err
		}
		for _, task := range due {
			if err := v.lookAt(ctx, task, now); err != nil {
				return err
			}
		}
		if len(due) < vanishedPage {
			return nil
		}
	}
	return nil
}

// lookAt looks up the cloudIDs of one noted task. It forgets the task if all of them are final.
func (v *vanished) lookAt(ctx context.Context, task store.OpenTask, now time.Time) error {
	records, err := v.results.Lookup(ctx, task.AppID, task.CloudIDs)
	if err != nil && !errors.Is(err, store.ErrUnreadable) {
		return err
	}
	for i := range records {
		if records[i].Status == store.Pending { // another task has claimed it: check again later
			return v.open.Note(ctx, task, now.Add(store.OverdueAfter))
		}
	}
	return v.open.Forget(ctx, task.TaskID)
}

// finishStalled finishes chunks whose task is gone. It checks the backfills that have made no
// progress for longer than the lifetime of a cloudID.
func (v *vanished) finishStalled(ctx context.Context, now time.Time) error {
	if v.stalled == nil {
		return nil
	}
	found, err := v.stalled.Stalled(ctx, now.Add(-v.lifetime-store.OverdueAfter), v.done)
	if err != nil {
		return err
	}
	// Only backfills that are still stalled go into the new map.
	next := make(map[string]nextCheck, len(found))
	for i := range found {
		check := v.next[found[i].ID]
		if now.Before(check.at) {
			next[found[i].ID] = check
			continue
		}
		if err := v.finishChunks(ctx, &found[i]); err != nil {
			return err
		}
		after := min(stalledLast, max(stalledEvery, 2*check.after))
		next[found[i].ID] = nextCheck{now.Add(after), after}
	}
	v.next = next
	return nil
}

// finishChunks finishes the open chunks of a backfill whose task is gone.
func (v *vanished) finishChunks(ctx context.Context, of *backfill.Backfill) error {
	for from, more := 0, true; more; from += vanishedPage {
		var open []backfill.OpenChunk
		var err error
		if open, more, err = v.stalled.OpenChunks(ctx, of, from, vanishedPage); err != nil {
			return err
		}
		// The task of a chunk has an id made of backfill and chunk number.
		ids := make([]string, len(open))
		for i := range open {
			ids[i] = tasks.ChunkTaskID(of.ID, open[i].Number)
		}
		exist, err := queue.Exist(ctx, v.rdb, tasks.QueueBackfill, ids)
		if err != nil {
			return err
		}
		for i, id := range ids {
			if exist[i] {
				continue
			}
			if err := v.finishChunk(ctx, of, id, open[i].CloudIDs); err != nil {
				return err
			}
		}
	}
	return nil
}

// finishChunk finishes a chunk whose task is gone. The times at which its cloudIDs were obtained
// are lost with the task, so finishChunk uses the creation time of the backfill. The cloudIDs are
// older than their chunk, and the backfill has received nothing for longer than their lifetime.
// So all of them have outlived it.
func (v *vanished) finishChunk(
	ctx context.Context, of *backfill.Backfill, taskID string, cloudIDs []string,
) error {
	p := tasks.ResolvePayload{
		AppID: of.AppID, AcceptedAt: of.CreatedAt.Time, Webhook: of.Webhook, Backfill: of.ID,
	}
	for _, id := range cloudIDs {
		p.Items = append(p.Items, tasks.Item{CloudID: id, ObtainedAt: of.CreatedAt.Time})
	}
	_, err := v.finisher.FinishOverdue(ctx, taskID, p)
	if err == nil {
		v.log.Warn("finished the cloudIDs of a vanished backfill task",
			"backfill", of.ID, "cloudids", len(cloudIDs))
	}
	return err
}

// noteOpen notes the cloudIDs that an attempt has left open, in case the task vanishes before
// its next attempt. It notes nothing if the task is not requeued. It logs errors.
func (h *resolver) noteOpen(ctx context.Context, r *resolution, err error) {
	_, requeued := errors.AsType[*requeueError](err)
	if !requeued || h.open == nil || !r.claimed {
		return
	}
	// Collect the cloudIDs without a final status.
	task := store.OpenTask{TaskID: r.taskID, AppID: r.payload.AppID}
	var accepted time.Time
	for i := range r.items {
		if it := &r.items[i]; !it.finalStatus.Final() {
			task.CloudIDs = append(task.CloudIDs, it.record.CloudID)
			accepted = it.record.AcceptedAt.Time
		}
	}
	if len(task.CloudIDs) == 0 {
		return
	}
	// One second is added so that the look-up finds the records overdue.
	due := accepted.Add(h.lifetime + store.OverdueAfter + time.Second)
	if err := h.open.Note(ctx, task, due); err != nil && ctx.Err() == nil {
		h.log.Error("cannot record the open cloudIDs of a task", "task_id", r.taskID, "error", err)
	}
}

// setOrigin stores in each record the task and the endpoint. If the task vanishes, the record
// is finished with them ([store.Timely]).
func (r *resolution) setOrigin() {
	origin := &store.Origin{TaskID: r.taskID}
	if r.h.outlets != nil {
		to := r.h.outlets(r.payload.AppID, r.payload.Webhook)
		origin.Endpoint, origin.Thin = to.Endpoint, to.Thin
	}
	for i := range r.items {
		r.items[i].record.Origin = origin
	}
}
