package worker

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/hibiken/asynq"
	"github.com/sethvargo/go-retry"
	"go.opentelemetry.io/otel/trace"

	"cloudidq/internal/attempt"
	"cloudidq/internal/batch"
	"cloudidq/internal/deliver"
	"cloudidq/internal/queue"
	"cloudidq/internal/wechat"
	"cloudidq/store"
	"cloudidq/tasks"
)

const (
	// attemptFor is how long one attempt of a task waits for its cloudIDs to be sent. The cloudIDs
	// that are still unsent then go back to the queue. The attempt waits for the requests in
	// flight, and still stays below the task's timeout of one minute.
	attemptFor = 25 * time.Second
	// ownedFor is how long a task certainly belongs to this process after it was fetched.
	// Rescuers leave a task alone for [queue.DeadAfter], and no request for it begins after
	// ownedFor. So a process that was suspended and then continues does not send cloudIDs that
	// another process has taken over.
	ownedFor = 28 * time.Second
	// claimFor is the length of a claim in the store. It is longer than an attempt, so only the
	// claims of dead workers lapse.
	claimFor = 2 * time.Minute
	// saveLinger is how long a finished record waits for other records of its task, while some
	// of the task's cloudIDs are still without an answer.
	saveLinger = 10 * time.Millisecond
	// saveFor bounds the retries of a save that fails. After that the task is requeued and the
	// unsaved answers are discarded.
	saveFor = 10 * time.Second
	// troublePause is the mean time that a task keeps its slot after an error of the store. The
	// time varies from half to one and a half times the mean. The queue may work while the
	// store does not, for example if the Redis user lacks a permission. Without the pause, task
	// after task would run into the same error.
	troublePause = time.Second
)

// resolver handles cloudid:resolve. Only a resolver writes the final status of a cloudID: in an
// attempt, or outside of one for a task that gets no more attempts (finish.go).
type resolver struct {
	apps     *directory
	lifetime time.Duration
	clock    *tasks.Clock // nil = this machine's clock is right
	results  store.Results
	batcher  *batch.Batcher
	shares   *shares

	outlets  deliver.Destinations // nil = nothing is delivered
	deliver  *deliver.Deliverer   // nil = other processes make the deliveries
	redactor *queue.Redactor      // nil = cloudIDs of erased users stay in requeued tasks
	activity recorder
	bulk     *bulk     // nil = backfills are not counted
	open     openTasks // nil = what attempts leave open is not recorded

	metrics *metrics
	tracer  *attempt.Tracer
	log     *slog.Logger
}

// ProcessTask makes one attempt of a task. It claims the task's cloudIDs, expires those past
// their lifetime, requests the others from WeChat, and saves every outcome as it arrives. It
// returns nil if the task is done. If cloudIDs are open, it returns an [requeueError], which says
// when the task is attempted again. If all are finished and none brought data, it returns an
// error that archives the task.
func (h *resolver) ProcessTask(ctx context.Context, task *asynq.Task) (err error) {
	ctx, span := h.startSpan(ctx, task)
	defer func() { span.End(err) }()
	taskID, _ := asynq.GetTaskID(ctx)
	// A task of a newer version is left to a newer worker. Any other task that cannot be read
	// is archived.
	payload, err := tasks.ParseResolve(task.Payload())
	if errors.Is(err, tasks.ErrNewer) {
		return requeueForNewer(err)
	}
	if err != nil {
		return h.unreadable(ctx, taskID, err)
	}
	// Prepare the state of the attempt. This reads no store and sends nothing.
	r := newResolution(h, taskID, payload)
	queueName, _ := asynq.GetQueueName(ctx)
	// The attempt counts against the slots of its app until it returns.
	place := h.shares.enter(queueName, payload.AppID)
	defer place.leave()
	err = r.process(ctx, place)
	// The task may be requeued: remove the cloudIDs of erased users from it, and record the open
	// cloudIDs, so that they are finished even if the task vanishes.
	h.redactErased(r, queueName, err)
	h.noteOpen(ctx, r, err)
	// Report the attempt to metrics, trace and log.
	r.countRetries()
	r.describe(span)
	h.logAttempt(ctx, r, err)
	return err
}

// redactErased schedules the removal of erased users' cloudIDs from a task that is requeued.
// asynq requeues the payload that it fetched, so the redactor removes them after that.
func (h *resolver) redactErased(r *resolution, queueName string, err error) {
	_, requeued := errors.AsType[*requeueError](err)
	if !requeued || r.erased == 0 || h.redactor == nil {
		return
	}
	cloudIDs := make(map[string]bool, r.erased)
	for i := range r.items {
		if r.items[i].erased {
			cloudIDs[r.items[i].record.CloudID] = true
		}
	}
	h.redactor.Defer(queueName, r.taskID, cloudIDs)
}

// process makes the attempt, or requeues the task if its app is paused or over its share of the
// slots. A task of a canceled backfill does not wait: its cloudIDs only have to be finished.
func (r *resolution) process(ctx context.Context, place *place) error {
	if err := r.checkCanceled(ctx); err != nil {
		return err
	}
	if !r.canceled && len(r.items) > 0 {
		if err := r.awaitSlot(ctx, place); err != nil {
			return err
		}
	}
	// From here on the task uses a slot of its app. It does so beyond the app's share if one of
	// its cloudIDs must be finished now.
	place.workAnyway()
	return r.tally(ctx, r.attempt(ctx))
}

// unreadable archives a task that no retry can make readable. A chunk of a backfill is first
// counted as failed. If the store does not answer, the task is requeued.
func (h *resolver) unreadable(ctx context.Context, taskID string, why error) error {
	if err := h.CountUnreadable(ctx, taskID); err != nil {
		h.log.Error("the store does not answer", "task_id", taskID, "error", err)
		// If the queue still works, the pause keeps it from bringing task after task to the
		// same refusal.
		pause(ctx, troublePause)
		return &requeueError{reason: "the store does not answer", failure: true}
	}
	h.log.Error("archived a task whose payload cannot be read", "task_id", taskID, "error", why)
	return attempt.Archive(why.Error())
}

// awaitSlot returns nil if the task may be attempted now. If its app is paused, it requeues the
// task unchanged. If its app uses its whole share of the slots, the task waits for a slot. It
// is requeued unchanged if a task of another app needs its slot, or if the wait takes too long.
// It also returns nil if the lifetime of a cloudID is over, because that cloudID must be finished.
func (r *resolution) awaitSlot(ctx context.Context, place *place) error {
	if err := r.notPaused(ctx); err != nil || place.mayWork() {
		return err
	}
	// Wait for a slot, but not past the lifetime of any cloudID.
	begun := time.Now()
	works := place.wait(ctx, min(waitsFor, r.earliestSendBy().Sub(begun)))
	r.waited = time.Since(begun)
	switch {
	case ctx.Err() != nil:
		return ctx.Err() // asynq has taken the task away already
	case works:
		return r.notPaused(ctx) // the app may have been paused during the wait
	}
	// No slot was free in time, so the task yields its slot and later returns to the head of the
	// queue. If it is requeued because the store has failed, it does not return to the head:
	// there it would meet the same failure at once.
	err := r.requeueUnchanged(ctx, requeueForShare())
	if requeue, ok := errors.AsType[*requeueError](err); ok && !requeue.failure {
		place.yield(r.taskID)
	}
	return err
}

// notPaused requeues the task unchanged if its app is paused.
func (r *resolution) notPaused(ctx context.Context) error {
	if block := r.h.batcher.Paused(r.payload.AppID); block != nil {
		return r.requeueUnchanged(ctx, requeueAfterPause(block, time.Now()))
	}
	return nil
}

// requeueUnchanged requeues the task unchanged. If the task carries no acceptance time, the
// store first records when its cloudIDs were seen. Their lifetime thus starts now and not at
// the next attempt. It returns nil if a cloudID must be finished now, see requeueUnlessOverdue.
func (r *resolution) requeueUnchanged(ctx context.Context, requeue requeueError) error {
	if r.undated {
		if err := r.date(ctx); err != nil {
			return err
		}
	}
	return r.requeueUnlessOverdue(requeue, time.Now())
}

// attempt makes the attempt itself. It claims the cloudIDs, finishes those that need no request,
// requests the others, and decides what happens to the task.
func (r *resolution) attempt(ctx context.Context) error {
	// Find out whether this worker serves the app. The lookup also opens the app's queue.
	r.notServed = r.h.apps.lookUp(ctx, r.payload.AppID)
	// Claim the cloudIDs, so that no other task requests them at the same time. The claim leaves
	// open only those without a final status.
	if err := r.claim(ctx, claimFor); err != nil {
		return r.storeTrouble(ctx, err)
	}
	// Finish cloudIDs that need no request.
	now := time.Now()
	r.expireOverdue(now)
	r.failCanceled(now)
	// Request the others from WeChat. Each answer is saved soon after it arrives.
	if err := r.requestOpen(ctx); err != nil {
		return err
	}
	return r.decide()
}

// requestOpen sends the open cloudIDs through the batcher and saves the answers in groups.
func (r *resolution) requestOpen(ctx context.Context) error {
	cloudIDs := r.requests()
	if r.notServed != nil {
		// This worker does not serve the app: the cloudIDs wait for an operator.
		r.requeueOpen(r.notServed.Error())
		cloudIDs = nil
	}
	if len(cloudIDs) == 0 {
		return r.save(ctx)
	}
	// Hand the cloudIDs to the batcher. Withdraw removes those that are still unsent on return.
	w := r.h.batcher.Add(trace.SpanContextFromContext(ctx), r.payload.AppID, cloudIDs)
	defer r.h.batcher.Withdraw(w)

	limit := time.NewTimer(attemptFor - r.waited)
	defer limit.Stop()
	save := time.NewTimer(saveLinger) // runs while there are unsaved records
	defer save.Stop()
	// Collect the answers. They are saved saveLinger after the first unsaved one, and at the
	// end.
	for left := len(cloudIDs); left > 0; {
		select {
		case a := <-w.Answers:
			left--
			if len(r.unsaved) == 0 {
				save.Reset(saveLinger)
			}
			r.applyOutcome(a.Index, a.Outcome, time.Now())
		case <-save.C:
			if err := r.save(ctx); err != nil {
				return err
			}
		case <-limit.C:
			left -= r.h.batcher.Withdraw(w) // keep waiting for the requests in flight
		case <-ctx.Done():
			return ctx.Err() // asynq has taken the task away already
		}
	}
	return r.save(ctx)
}

// save writes the outcomes since the last save in one round trip, and then reports them to
// metrics, activity and deliveries. A store that fails is retried for saveFor.
func (r *resolution) save(ctx context.Context) error {
	if len(r.unsaved) == 0 {
		return nil
	}
	// A delivery is saved in the same call as its records, so none is lost in a crash.
	endpoint, final := r.address(ctx)
	b := retry.NewExponential(50 * time.Millisecond)
	b = retry.WithMaxDuration(saveFor, retry.WithJitterPercent(50, b))
	err := retry.Do(ctx, b, func(ctx context.Context) error {
		return retry.RetryableError(r.h.results.Save(ctx, r.taskID, r.unsaved))
	})
	if err != nil {
		return r.storeTrouble(ctx, err)
	}
	// Report only what the store has accepted.
	reportFinished(r.h.activity, r.unsaved)
	r.unsaved = r.unsaved[:0]
	r.h.metrics.countFinished(r.payload.AppID, r.finished)
	r.finished = r.finished[:0]
	// Start the delivery at once if this process makes deliveries.
	if final > 0 && r.h.deliver != nil {
		r.h.deliver.Saved(r.payload.AppID, endpoint, final)
	}
	return nil
}

// address sets the endpoint of delivery in the unsaved records that are final. It returns the
// name of the endpoint and the number of these records.
func (r *resolution) address(ctx context.Context) (endpoint string, final int) {
	if r.h.outlets == nil {
		return "", 0
	}
	to := r.h.outlets(r.payload.AppID, r.payload.Webhook)
	if to.Endpoint == "" {
		return "", 0
	}
	parent := tasks.Traceparent(ctx)
	for i := range r.unsaved {
		if rec := &r.unsaved[i]; rec.Status.Final() {
			rec.Deliver = to.Outlet(rec, parent)
			final++
		}
	}
	return to.Endpoint, final
}

// storeTrouble requeues the task because the store does not answer. The cloudIDs whose records
// were not saved are requested from WeChat again. A repeated request is acceptable; a lost
// result is not. If err is a cancellation, storeTrouble returns it unchanged.
func (r *resolution) storeTrouble(ctx context.Context, err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	r.h.log.Error("the store does not answer", "task_id", r.taskID, "error", err)
	pause(ctx, troublePause)
	return &requeueError{open: len(r.items), reason: "the store does not answer", failure: true}
}

// pause waits for half to one and a half times mean, or until ctx ends.
func pause(ctx context.Context, mean time.Duration) {
	timer := time.NewTimer(mean/2 + rand.N(mean))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// sendBy returns the time after which a cloudID is not sent any more. It is the end of its
// lifetime, less a margin for the way to WeChat: one second, or a twentieth of a short
// lifetime.
func sendBy(obtained time.Time, lifetime time.Duration) time.Time {
	return obtained.Add(lifetime - min(time.Second, lifetime/20))
}

var _ batch.OpenData = (*wechat.Client)(nil)
