package worker

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/hibiken/asynq"
	"github.com/sethvargo/go-retry"
	"go.opentelemetry.io/otel/trace"

	"cloudidq/internal/wechat"
	"cloudidq/store"
	"cloudidq/tasks"
)

const (
	// tryFor is how long one try of a task waits for its cloudIDs' turn. What has not been sent by then goes back to the
	// queue; with what is under way, a try stays below the task's timeout of a minute.
	tryFor = 25 * time.Second
	// heldFor is how long after it was fetched a task is this process's for certain: rescuers leave it alone for 30 s, and
	// no request of it begins later. A process that is stopped and goes on must not send what others have taken over.
	heldFor = 28 * time.Second
	// claimFor outlives a try, so that only a dead worker's claims lapse.
	claimFor = 2 * time.Minute
	// saveLinger is how long a finished record waits for others of its task, while some are still being asked.
	saveLinger = 10 * time.Millisecond
	// saveFor is how long a store that fails is tried again before the task goes back, with answers thrown away.
	saveFor = 10 * time.Second
)

// resolver handles cloudid:resolve. It alone writes the end of a cloudID: in a try, or without one for a task that gets no
// more of them (ends.go).
type resolver struct {
	apps     *directory
	lifetime time.Duration
	clock    *tasks.Clock // nil = this machine's is right
	results  store.Results
	batcher  *batcher
	shares   *shares

	outlets  outlets // nil = nothing is delivered
	outbox   *outbox // nil = others make the deliveries
	redact   *redactor
	activity activity
	bulk     *bulk     // nil = backfills are not counted
	open     openTasks // nil = nobody notes what tries leave open

	metrics *metrics
	traces  *tracing
	log     *slog.Logger
}

// ProcessTask is one try of a task: claim its cloudIDs, end those past their lifetime, ask WeChat for the others, and
// save every outcome as it comes. It returns nil when all have ended, or an error that tells asynq when to come back,
// or one that archives the task because nothing of it brought data.
func (h *resolver) ProcessTask(ctx context.Context, task *asynq.Task) (err error) {
	ctx, span := h.traces.resolve(ctx, task)
	defer func() { span.end(err) }()
	taskID, _ := asynq.GetTaskID(ctx)
	payload, err := tasks.ParseResolve(task.Payload())
	if errors.Is(err, tasks.ErrNewer) {
		return leftToNewer(err)
	}
	if err != nil {
		return h.unreadable(ctx, taskID, err)
	}
	r := newResolution(h, taskID, payload)
	queue, _ := asynq.GetQueueName(ctx)
	place := h.shares.enter(queue, payload.AppID)
	defer place.leave()
	err = r.run(ctx, place)
	h.takeOutErased(r, queue, err)
	h.noteOpen(ctx, r, err)
	r.countRetries()
	span.settle(r)
	h.logTry(ctx, r, err)
	return err
}

// takeOutErased sees to it that a task that comes back does not keep cloudIDs of erased persons.
func (h *resolver) takeOutErased(r *resolution, queue string, err error) {
	if again, ok := errors.AsType[*againError](err); !ok || again == nil || r.erased == 0 || h.redact == nil {
		return
	}
	cloudIDs := make(map[string]bool, r.erased)
	for i := range r.items {
		if r.items[i].erased {
			cloudIDs[r.items[i].record.CloudID] = true
		}
	}
	h.redact.takeOut(queue, r.taskID, cloudIDs)
}

// run is the try, unless the task is to wait.
func (r *resolution) run(ctx context.Context, place *place) error {
	if err := r.lookUp(ctx); err != nil {
		return err
	}
	if !r.canceled && len(r.items) > 0 {
		if err := r.mayTry(ctx, place); err != nil {
			return err
		}
	}
	place.workAnyway()
	return r.tally(ctx, r.try(ctx))
}

// unreadable archives a task that no retry can make readable.
func (h *resolver) unreadable(ctx context.Context, taskID string, why error) error {
	if err := h.bulk.lost(ctx, taskID); err != nil {
		h.log.Error("the store does not answer", "task_id", taskID, "error", err)
		pause(ctx, troublePause)
		return &againError{reason: "the store does not answer", failure: true}
	}
	return archived(why.Error())
}

// mayTry sends the task back untouched if its app is paused. If its app has its share of the slots it waits, and goes back
// if another app's task needs its slot.
func (r *resolution) mayTry(ctx context.Context, place *place) error {
	if err := r.notPaused(ctx); err != nil || place.mayWork() {
		return err
	}
	begun := time.Now()
	works := place.wait(ctx, min(waitsFor, r.firstEnd().Sub(begun)))
	r.waited = time.Since(begun)
	switch {
	case ctx.Err() != nil:
		return ctx.Err() // asynq has taken the task away already
	case works:
		return r.notPaused(ctx)
	}
	err := r.putBackUntouched(ctx, makeWay())
	if again, ok := errors.AsType[*againError](err); ok && !again.failure {
		place.makesWay(r.taskID)
	}
	return err
}

// notPaused sends the task back if its app is paused.
func (r *resolution) notPaused(ctx context.Context) error {
	if h := r.h.batcher.paused(r.payload.AppID); h != nil {
		return r.putBackUntouched(ctx, againAfter(h, time.Now()))
	}
	return nil
}

// putBackUntouched returns the task as it came. The lifetime of an undated one runs from here, not from its next try.
func (r *resolution) putBackUntouched(ctx context.Context, again againError) error {
	if r.undated {
		if err := r.date(ctx); err != nil {
			return err
		}
	}
	return r.putBack(again, time.Now())
}

func (r *resolution) try(ctx context.Context) error {
	r.known, r.unknown = r.h.apps.know(ctx, r.payload.AppID)
	if err := r.claim(ctx, claimFor); err != nil {
		return r.storeTrouble(ctx, err)
	}
	r.endOutlived(time.Now())
	r.endCanceled(time.Now())
	if err := r.ask(ctx); err != nil {
		return err
	}
	return r.verdict()
}

// ask sends what is open through the batcher and saves the answers, several at a time.
func (r *resolution) ask(ctx context.Context) error {
	asks := r.asks()
	if !r.known {
		r.leaveOpen(r.unknown.Error())
		asks = nil
	}
	if len(asks) == 0 {
		return r.save(ctx)
	}
	w := r.h.batcher.add(trace.SpanContextFromContext(ctx), r.payload.AppID, asks)
	defer r.h.batcher.withdraw(w)

	limit := time.NewTimer(tryFor - r.waited)
	defer limit.Stop()
	save := time.NewTimer(saveLinger) // runs while something is unsaved
	defer save.Stop()
	for left := len(asks); left > 0; {
		select {
		case a := <-w.answers:
			left--
			if len(r.unsaved) == 0 {
				save.Reset(saveLinger)
			}
			r.settle(a.index, a.outcome, time.Now())
		case <-save.C:
			if err := r.save(ctx); err != nil {
				return err
			}
		case <-limit.C:
			left -= r.h.batcher.withdraw(w)
		case <-ctx.Done():
			return ctx.Err() // asynq has taken the task away already
		}
	}
	return r.save(ctx)
}

// save writes the outcomes since the last save in one round trip.
func (r *resolution) save(ctx context.Context) error {
	if len(r.unsaved) == 0 {
		return nil
	}
	to, ends := r.address(ctx)
	b := retry.WithMaxDuration(saveFor, retry.WithJitterPercent(50, retry.NewExponential(50*time.Millisecond)))
	err := retry.Do(ctx, b, func(ctx context.Context) error {
		return retry.RetryableError(r.h.results.Save(ctx, r.taskID, r.unsaved))
	})
	if err != nil {
		return r.storeTrouble(ctx, err)
	}
	tellEnds(r.h.activity, r.unsaved)
	r.unsaved = r.unsaved[:0]
	r.h.metrics.ended(r.payload.AppID, r.ends)
	r.ends = r.ends[:0]
	if ends > 0 && r.h.outbox != nil {
		r.h.outbox.saved(r.payload.AppID, to, ends)
	}
	return nil
}

// address tells the store where the ends among the unsaved records are to be delivered, and returns how many there are.
func (r *resolution) address(ctx context.Context) (endpoint string, ends int) {
	if r.h.outlets == nil {
		return "", 0
	}
	to := r.h.outlets(r.payload.AppID, r.payload.Webhook)
	if to.Endpoint == "" {
		return "", 0
	}
	to.Trace = tasks.Traceparent(ctx)
	for i := range r.unsaved {
		if rec := &r.unsaved[i]; rec.Status.Final() {
			rec.Deliver = to
			ends++
		}
	}
	return to.Endpoint, ends
}

// storeTrouble sends the task back because the store does not answer. The records that are not saved are asked for
// again: a repeat, not a hole.
func (r *resolution) storeTrouble(ctx context.Context, err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	r.h.log.Error("the store does not answer", "task_id", r.taskID, "error", err)
	pause(ctx, troublePause)
	return &againError{open: len(r.items), reason: "the store does not answer", failure: true}
}

// sendBy is the moment after which nothing is sent for a cloudID: the end of its lifetime, less a margin for the way
// to WeChat.
func sendBy(obtained time.Time, lifetime time.Duration) time.Time {
	return obtained.Add(lifetime - min(time.Second, lifetime/20))
}

var _ openData = (*wechat.Client)(nil)
