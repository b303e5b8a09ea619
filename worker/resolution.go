package worker

import (
	"context"
	"fmt"
	"time"

	"cloudidq/internal/wechat"
	"cloudidq/store"
	"cloudidq/tasks"
)

// resolution is one try of one task. It is used by its handler's goroutine only.
type resolution struct {
	h       *resolver
	taskID  string
	held    time.Time     // until then no other process has the task, even if this one stands still
	ahead   time.Duration // Redis's clock, beside this machine's
	undated bool          // the payload does not say when it was accepted, or a moment that is still to come
	payload tasks.ResolvePayload
	known   bool  // whether the app is served
	unknown error // why not

	part     *part // of a backfill; nil = it is none
	canceled bool  // that backfill
	claimed  bool  // its cloudIDs have records

	waited time.Duration // for the app's share of the slots; it is part of the try

	items   []item         // one per cloudID
	asked   []int          // positions in items of what the batcher was given
	unsaved []store.Record // outcomes that the store does not have yet
	ends    []end          // those among them that are ends, for metrics

	resolved, failed, expired int // ends, those of earlier tries included
	erased                    int // of persons who are to be forgotten
	endedNow                  int // ends that a try which asks nobody has written
	again                     againError
	cause                     *store.Error // of one that ended without data, for the archive
}

// item is a cloudID and its record as far as it is known.
type item struct {
	record store.Record
	sendBy time.Time
	class  wechat.Class // of the answer that has ended it, if one has
	open   bool
	erased bool
	ended  store.Status // as a backfill counts it; empty = it has not
	lines  int          // of the payload that ask for it
}

func newResolution(h *resolver, taskID string, p tasks.ResolvePayload) *resolution {
	begun, ahead := time.Now(), h.clock.Ahead()
	now := begun.Add(ahead) // by the clock that all share, as are the payload's moments if their machines' clocks are right
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
		// A backfill may repeat a cloudID, and so may a foreign producer.
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
			sendBy: sendBy(obtainedAt(it, accepted), h.lifetime).Add(-ahead),
			open:   true,
			lines:  1,
		})
	}
	return r
}

// obtainedAt is when the item's lifetime began. A front end's clock may run ahead, so acceptance bounds it.
func obtainedAt(it tasks.Item, accepted time.Time) time.Time {
	if it.ObtainedAt.IsZero() || it.ObtainedAt.After(accepted) {
		return accepted
	}
	return it.ObtainedAt
}

// putBack returns the task as it came, unless a cloudID of it has outlived its lifetime and is to be ended.
func (r *resolution) putBack(again againError, now time.Time) error {
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

// firstEnd is when the first cloudID outlives its lifetime.
func (r *resolution) firstEnd() time.Time {
	first := r.items[0].sendBy
	for i := range r.items {
		if end := r.items[i].sendBy; end.Before(first) {
			first = end
		}
	}
	return first
}

// claim takes the cloudIDs that are neither resolved nor in another task's hands, for so long.
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

func (r *resolution) takeClaim(it *item, c store.ClaimResult) {
	switch c.State {
	case store.Done:
		it.open, it.ended = false, c.Record.Status
		if !it.ended.Final() {
			it.ended = store.Failed // its record cannot be read
		}
		r.count(c.Record)
	case store.Busy:
		it.open = false
		r.again.merge(againError{reason: "another task is asking for it", delay: delayWaiting})
	case store.Erased:
		it.open, it.ended, it.erased = false, store.Failed, true // counted so, though there is no record
		r.erased++
	case store.Claimed:
		r.resume(it, c.Record)
	}
}

// resume goes on where an earlier try of this task, or of another that waits, has stopped.
func (r *resolution) resume(it *item, stored store.Record) {
	if stored.Status != store.Pending {
		return
	}
	it.record.Attempts, it.record.Error = stored.Attempts, stored.Error
	r.bound(it, stored.AcceptedAt)
}

// bound ends the lifetime of a cloudID that was seen before at that moment: it was there then. So a producer that says
// nothing of time, or whose clock is ahead, gets one lifetime from the first look at the cloudID, not one from each.
func (r *resolution) bound(it *item, seen store.Time) {
	if seen.IsZero() || !seen.Before(it.record.AcceptedAt.Time) {
		return
	}
	it.record.AcceptedAt = seen
	if by := sendBy(seen.Time, r.h.lifetime).Add(-r.ahead); by.Before(it.sendBy) {
		it.sendBy = by
	}
}

// date notes when the cloudIDs of an undated task were first seen, although none of them is tried yet: their lifetime runs
// while they wait for the end of a pause.
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

// pending are the records to claim.
func (r *resolution) pending() []store.Record {
	pending := make([]store.Record, len(r.items))
	for i := range r.items {
		pending[i] = r.items[i].record
	}
	return pending
}

// asks lists what is open, for the batcher.
func (r *resolution) asks() []ask {
	asks := make([]ask, 0, len(r.items))
	for i := range r.items {
		if it := &r.items[i]; it.open {
			r.asked = append(r.asked, i)
			asks = append(asks, ask{openID: it.record.OpenID, item: wechat.Item{
				CloudID: it.record.CloudID, SendBy: it.sendBy, HeldUntil: r.held,
			}})
		}
	}
	return asks
}

// countRetries counts the cloudIDs that the try sends back.
func (r *resolution) countRetries() {
	layer := layerWait
	if r.again.failure {
		layer = layerQueue
	}
	r.h.metrics.retried(r.payload.AppID, layer, r.again.open)
}

// verdict is what becomes of the task: back to the queue for what is open, to the archive if all ended badly, or done.
func (r *resolution) verdict() error {
	for i := range r.items {
		if it := &r.items[i]; it.open { // withdrawn: its turn did not come
			r.again.merge(againError{reason: "no request of the app was free", delay: delayWaiting, latest: it.sendBy})
		}
	}
	if r.again.open > 0 {
		return &r.again
	}
	if r.resolved > 0 || r.failed+r.expired == 0 || r.canceled { // all erased, or by intention: nobody is to look into it
		return nil
	}
	return archived(r.sadEnd())
}

// sadEnd says why a task brought nothing, without a value of it. WeChat's own text is not repeated here: the queue
// keeps this one for 90 days, unsealed.
func (r *resolution) sadEnd() string {
	text := fmt.Sprintf("no cloudID brought data: %d failed, %d expired", r.failed, r.expired)
	if r.cause == nil || r.cause.Code == 0 {
		return text
	}
	return fmt.Sprintf("%s, the first with errcode %d (%s)", text, r.cause.Code, codeText(r.cause.Code))
}

// codeText is the table's text of an errcode: unlike what WeChat answered, it repeats nothing that was submitted.
func codeText(code int) string {
	if known, ok := wechat.LookupCode(code); ok {
		return known.Text
	}
	return "not in the table of codes"
}
