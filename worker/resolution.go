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
	h       *resolver
	taskID  string
	held    time.Time     // no other process takes the task over before, even if this one is suspended
	ahead   time.Duration // how far Redis's clock is ahead of this machine's clock
	undated bool          // the payload has no acceptance time, or one in the future
	payload tasks.ResolvePayload
	known   bool  // whether this worker serves the app
	unknown error // why it does not

	part     *part // the task's chunk of a backfill; nil = it belongs to none
	canceled bool  // the backfill was canceled
	claimed  bool  // the cloudIDs have records in the store

	waited time.Duration // time spent waiting for a slot; it counts as part of the attempt

	items   []item         // one per cloudID
	asked   []int          // positions in items of the cloudIDs given to the batcher
	unsaved []store.Record // outcomes that the store does not have yet
	ends    []end          // the final ones among them, for metrics

	resolved, failed, expired int // final records, including those of earlier attempts
	erased                    int // cloudIDs of erased users
	endedNow                  int // cloudIDs that endWithoutAsking has finished
	again                     againError
	cause                     *store.Error // error of the first cloudID that finished without data, for the archive
}

// item is a cloudID and its record, as far as it is known.
type item struct {
	record store.Record
	sendBy time.Time
	class  wechat.Class // class of the answer that finished it; zero if none did
	open   bool
	erased bool
	ended  store.Status // final status as a backfill counts it; empty = not finished
	lines  int          // number of payload items with this cloudID
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
		h: h, taskID: taskID, held: begun.Add(heldFor), ahead: ahead, undated: undated, payload: p,
		items: make([]item, 0, len(p.Items)), part: h.bulk.partOf(taskID, p),
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

// putBack requeues the task unchanged. It returns nil if the lifetime of a cloudID is over. The
// attempt must then go on, to finish that cloudID.
func (r *resolution) putBack(again againError, now time.Time) error {
	// Check all before the first merge: r.again must stay empty if the attempt goes on.
	for i := range r.items {
		if !now.Before(r.items[i].sendBy) {
			return nil
		}
	}
	for i := range r.items {
		again.latest = r.items[i].sendBy
		r.again.merge(again)
	}
	return &r.again
}

// firstEnd returns the earliest end of a cloudID's lifetime in the task.
func (r *resolution) firstEnd() time.Time {
	first := r.items[0].sendBy
	for i := range r.items {
		if end := r.items[i].sendBy; end.Before(first) {
			first = end
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
		r.takeClaim(&r.items[i], c)
	}
	return nil
}

// takeClaim applies the result of the claim to one cloudID.
func (r *resolution) takeClaim(it *item, c store.ClaimResult) {
	switch c.State {
	case store.Done:
		it.open, it.ended = false, c.Record.Status
		if !it.ended.Final() {
			it.ended = store.Failed // the record cannot be read
		}
		r.count(c.Record)
	case store.Busy:
		it.open = false
		r.again.merge(againError{reason: "another task is asking for it", delay: delayWaiting})
	case store.Erased:
		it.open, it.ended, it.erased = false, store.Failed, true // counted as failed, although it has no record
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
	seen, err := r.h.results.Claim(ctx, store.Claim{AppID: r.payload.AppID, TaskID: r.taskID, Records: r.pending()})
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

// asks returns the open cloudIDs in the form that the batcher takes, and notes their positions.
func (r *resolution) asks() []batch.CloudID {
	asks := make([]batch.CloudID, 0, len(r.items))
	for i := range r.items {
		if it := &r.items[i]; it.open {
			r.asked = append(r.asked, i)
			asks = append(asks, batch.CloudID{OpenID: it.record.OpenID, Item: wechat.Item{
				CloudID: it.record.CloudID, SendBy: it.sendBy, LeaseUntil: r.held,
			}})
		}
	}
	return asks
}

// countRetries counts the cloudIDs that the attempt returns to the queue.
func (r *resolution) countRetries() {
	layer := layerWait
	if r.again.failure {
		layer = layerQueue
	}
	r.h.metrics.retried(r.payload.AppID, layer, r.again.open)
}

// verdict decides what happens to the task. If cloudIDs are open, it goes back to the queue. If
// cloudIDs have finished and none brought data, it is archived. Otherwise it is done.
func (r *resolution) verdict() error {
	for i := range r.items {
		if it := &r.items[i]; it.open { // withdrawn before it was sent
			r.again.merge(againError{reason: "no request of the app was free", delay: delayWaiting, latest: it.sendBy})
		}
	}
	if r.again.open > 0 {
		return &r.again
	}
	// Not archived, although nothing was resolved: all users were erased, or the backfill was
	// canceled. Neither needs an operator.
	if r.resolved > 0 || r.failed+r.expired == 0 || r.canceled {
		return nil
	}
	return attempt.Archive(r.sadEnd())
}

// sadEnd returns why a task brought no data, without any submitted value. It does not repeat
// WeChat's own message, because the queue stores this text for 90 days, unsealed.
func (r *resolution) sadEnd() string {
	text := fmt.Sprintf("no cloudID brought data: %d failed, %d expired", r.failed, r.expired)
	if r.cause == nil || r.cause.Code == 0 {
		return text
	}
	return fmt.Sprintf("%s, the first with errcode %d (%s)", text, r.cause.Code, wechat.CodeText(r.cause.Code))
}
