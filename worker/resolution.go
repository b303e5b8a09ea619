package worker

import (
	"context"
	"fmt"
	"time"

	"cloudidq/internal/attempt"
	"cloudidq/internal/batch"
	"cloudidq/internal/wechat"
	"cloudidq/store"
	"cloudidq/tasks"
)

// resolution is the state of one attempt of one task. Only its handler's goroutine uses it.
type resolution struct {
	h *resolver
	given
	progress
	counts
}

// given is what is known of a task before its attempt.
type given struct {
	taskID  string
	payload tasks.ResolvePayload
	part    *part // the task's chunk of a backfill; nil = it belongs to none
	undated bool  // the payload has no acceptance time, or one in the future
	// ownedUntil is the time before which no other process takes the task over, even if this
	// process is suspended.
	ownedUntil time.Time
	ahead      time.Duration // how far Redis's clock is ahead of this machine's clock
}

// progress is what an attempt has found and done so far.
type progress struct {
	notServed error // why this worker does not serve the app; nil = it does
	canceled  bool  // the backfill was canceled
	claimed   bool  // the cloudIDs have records in the store
	// waited is the time spent waiting for a slot. It counts as part of the attempt.
	waited time.Duration

	items     []item            // one per cloudID
	requested []int             // positions in items of the cloudIDs given to the batcher
	unsaved   []store.Record    // outcomes that the store does not have yet
	finished  []finishedCloudID // the final ones among them, for metrics
	requeue   requeueError      // returned if cloudIDs are still open
}

// counts are the totals of an attempt.
type counts struct {
	resolved, failed, expired int // final records, including those of earlier attempts
	erased                    int // cloudIDs of erased users
	newlyFinished             int // cloudIDs that finishWithoutRequest has finished
	// cause is the error of the first cloudID that finished without data, for the archive.
	cause *store.Error
}

// item is a cloudID and its record, as far as it is known.
type item struct {
	record store.Record
	sendBy time.Time
	class  wechat.Class // class of the answer that finished it; zero if none did
	open   bool
	erased bool
	// finalStatus is the status that a backfill counts; empty = not finished.
	finalStatus store.Status
	lines       int // number of payload items with this cloudID
}

// newResolution prepares an attempt of the task taskID with payload p. It reads no store.
func newResolution(h *resolver, taskID string, p tasks.ResolvePayload) *resolution {
	begun, ahead := time.Now(), h.clock.Ahead()
	now := begun.Add(ahead) // Redis's clock, which all machines share
	// A missing acceptance time, or one in the future, is replaced by the current time. claim
	// bounds it by the time that an earlier attempt recorded.
	accepted := p.AcceptedAt
	undated := accepted.IsZero() || accepted.After(now)
	if undated {
		accepted = now
	}
	r := &resolution{
		h: h,
		given: given{
			taskID: taskID, payload: p, part: h.bulk.partOf(taskID, p), undated: undated,
			ownedUntil: begun.Add(ownedFor), ahead: ahead,
		},
		progress: progress{items: make([]item, 0, len(p.Items))},
	}
	seen := make(map[string]int, len(p.Items))
	for _, it := range p.Items {
		// A backfill may repeat a cloudID, and so may an external producer.
		if first, repeated := seen[it.CloudID]; repeated {
			r.items[first].lines++
			continue
		}
		seen[it.CloudID] = len(r.items)
		r.items = append(r.items, item{
			record: store.Record{
				AppID: p.AppID, OpenID: it.OpenID, CloudID: it.CloudID, Status: store.Pending,
				Reference: it.Reference, AcceptedAt: store.At(accepted),
			},
			// Redis's clock is converted back: sendBy is compared with this machine's clock.
			sendBy: sendBy(obtainedAt(it, accepted), h.lifetime).Add(-ahead),
			open:   true,
			lines:  1,
		})
	}
	return r
}

// obtainedAt returns when the item's lifetime began. The clock of a front end may run ahead, so
// the result is never later than accepted.
func obtainedAt(it tasks.Item, accepted time.Time) time.Time {
	if it.ObtainedAt.IsZero() || it.ObtainedAt.After(accepted) {
		return accepted
	}
	return it.ObtainedAt
}

// requeueUnlessOverdue requeues the task unchanged. It returns nil if the lifetime of a cloudID
// is over. The attempt must then go on, to finish that cloudID.
func (r *resolution) requeueUnlessOverdue(requeue requeueError, now time.Time) error {
	// Check all before the first merge: r.requeue must stay empty if the attempt goes on.
	for i := range r.items {
		if !now.Before(r.items[i].sendBy) {
			return nil
		}
	}
	for i := range r.items {
		requeue.latest = r.items[i].sendBy
		r.requeue.merge(requeue)
	}
	return &r.requeue
}

// earliestSendBy returns the earliest time at which a cloudID of the task can no longer be sent.
func (r *resolution) earliestSendBy() time.Time {
	first := r.items[0].sendBy
	for i := range r.items {
		if by := r.items[i].sendBy; by.Before(first) {
			first = by
		}
	}
	return first
}

// claim claims the task's cloudIDs for length. It gets those that are neither resolved nor
// claimed by another task.
func (r *resolution) claim(ctx context.Context, length time.Duration) error {
	r.setOrigin()
	claimed, err := r.h.results.Claim(ctx, store.Claim{
		AppID: r.payload.AppID, TaskID: r.taskID, For: length, Records: r.pending(),
	})
	if err != nil {
		return err
	}
	r.claimed = true
	for i, c := range claimed {
		r.applyClaim(&r.items[i], c)
	}
	return nil
}

// applyClaim applies the result of the claim to one cloudID.
func (r *resolution) applyClaim(it *item, c store.ClaimResult) {
	switch c.State {
	case store.Done:
		it.open, it.finalStatus = false, c.Record.Status
		if !it.finalStatus.Final() {
			it.finalStatus = store.Failed // the record cannot be read
		}
		r.count(c.Record)
	case store.Busy:
		it.open = false
		r.requeue.merge(requeueError{reason: "another task is requesting it", delay: delayWaiting})
	case store.Erased:
		// An erased cloudID is counted as failed, although it has no record.
		it.open, it.finalStatus, it.erased = false, store.Failed, true
		r.erased++
	case store.Claimed:
		r.resume(it, c.Record)
	}
}

// resume continues from the pending record of an earlier attempt, of this task or of another
// task that now waits.
func (r *resolution) resume(it *item, stored store.Record) {
	if stored.Status != store.Pending {
		return
	}
	it.record.Attempts, it.record.Error = stored.Attempts, stored.Error
	r.bound(it, stored.AcceptedAt)
}

// bound limits the lifetime of a cloudID that was first seen at an earlier time. So a producer
// that sends no times, or whose clock is ahead, gets one lifetime from the first sight of the
// cloudID, and not a new one with each attempt.
func (r *resolution) bound(it *item, seen store.Time) {
	if seen.IsZero() || !seen.Before(it.record.AcceptedAt.Time) {
		return
	}
	it.record.AcceptedAt = seen
	if by := sendBy(seen.Time, r.h.lifetime).Add(-r.ahead); by.Before(it.sendBy) {
		it.sendBy = by
	}
}

// date records in the store when the cloudIDs of an undated task were first seen. They are not
// attempted yet, but their lifetime runs while they wait for the end of a pause. The claim has
// no length, so it lapses at once.
func (r *resolution) date(ctx context.Context) error {
	r.setOrigin()
	seen, err := r.h.results.Claim(ctx, store.Claim{
		AppID: r.payload.AppID, TaskID: r.taskID, Records: r.pending(),
	})
	if err != nil {
		return r.storeTrouble(ctx, err)
	}
	r.claimed = true
	for i, c := range seen {
		if c.State == store.Claimed && c.Record.Status == store.Pending {
			r.bound(&r.items[i], c.Record.AcceptedAt)
		}
	}
	return nil
}

// pending returns the records to claim.
func (r *resolution) pending() []store.Record {
	pending := make([]store.Record, len(r.items))
	for i := range r.items {
		pending[i] = r.items[i].record
	}
	return pending
}

// requests returns the open cloudIDs in the form that the batcher takes, and notes their positions.
func (r *resolution) requests() []batch.CloudID {
	cloudIDs := make([]batch.CloudID, 0, len(r.items))
	for i := range r.items {
		if it := &r.items[i]; it.open {
			r.requested = append(r.requested, i)
			cloudIDs = append(cloudIDs, batch.CloudID{OpenID: it.record.OpenID, Item: wechat.Item{
				CloudID: it.record.CloudID, SendBy: it.sendBy, LeaseUntil: r.ownedUntil,
			}})
		}
	}
	return cloudIDs
}

// countRetries counts the cloudIDs that the attempt returns to the queue.
func (r *resolution) countRetries() {
	layer := layerWait
	if r.requeue.failure {
		layer = layerQueue
	}
	r.h.metrics.retried(r.payload.AppID, layer, r.requeue.open)
}

// decide decides what happens to the task. If cloudIDs are open, it goes back to the queue. If
// cloudIDs have finished and none brought data, it is archived. Otherwise it is done.
func (r *resolution) decide() error {
	for i := range r.items {
		if it := &r.items[i]; it.open { // withdrawn before it was sent
			r.requeue.merge(requeueError{
				reason: "no request of the app was free", delay: delayWaiting, latest: it.sendBy,
			})
		}
	}
	if r.requeue.open > 0 {
		return &r.requeue
	}
	// Not archived, although nothing was resolved: all users were erased, or the backfill was
	// canceled. Neither needs an operator.
	if r.resolved > 0 || r.failed+r.expired == 0 || r.canceled {
		return nil
	}
	return attempt.Archive(r.noDataReason())
}

// noDataReason returns why a task brought no data, without any submitted value. It does not repeat
// WeChat's own message, because the queue stores this text for 90 days, unsealed.
func (r *resolution) noDataReason() string {
	text := fmt.Sprintf("no cloudID brought data: %d failed, %d expired", r.failed, r.expired)
	if r.cause == nil || r.cause.Code == 0 {
		return text
	}
	return fmt.Sprintf("%s, the first with errcode %d (%s)",
		text, r.cause.Code, wechat.CodeText(r.cause.Code))
}
