package worker

import (
	"time"

	"cloudidq/internal/batch"
	"cloudidq/internal/wechat"
	"cloudidq/store"
)

// applyOutcome applies the answer for the index-th requested cloudID. The cloudID is then
// finished, or requeued with its attempts and its last error.
func (r *resolution) applyOutcome(index int, o wechat.Outcome, now time.Time) {
	it := &r.items[r.requested[index]]
	it.record.Attempts += o.Attempts
	r.h.metrics.retried(r.payload.AppID, layerCall, o.Attempts-1)
	if o.Err == nil {
		it.record.Kind, it.record.Data = o.Kind, o.Data
		r.finish(it, store.Resolved, nil, now)
		return
	}
	answer := storeError(o.Err)
	if status := finalStatus(o.Err); status.Final() {
		it.class = o.Err.Class
		r.finish(it, status, answer, now)
		return
	}
	// An answer without a request does not replace WeChat's last answer.
	if o.Attempts > 0 || it.record.Error == nil && answer.Code != 0 {
		it.record.Error = answer
	}
	// No later attempt may send this cloudID.
	if !now.Before(it.sendBy) {
		r.expire(it, now)
		return
	}
	requeue := r.requeueFor(o.Err, now)
	requeue.latest = it.sendBy
	r.requeue.merge(requeue)
	it.open = false
	r.unsaved = append(r.unsaved, it.record) // still pending, with the attempts and the last error
}

// requeueFor returns how the task is requeued after an error of WeChat. Unlike the function of
// the same name, it takes account of a pause of the app.
func (r *resolution) requeueFor(err *wechat.Error, now time.Time) requeueError {
	block := r.h.batcher.Paused(r.payload.AppID)
	switch {
	// The app is paused: wait for the end of the pause.
	case block != nil && (batch.PausesApp(err) || batch.OfPause(err)):
		return requeueAfterPause(block, now)
	case batch.OfPause(err): // the pause has ended meanwhile, or another request is its probe
		return requeueError{reason: err.Message, delay: delayPaused}
	default:
		return requeueFor(err, now)
	}
}

// storeError converts an error of WeChat for a record. It adds the remedy if the code table has
// one.
func storeError(err *wechat.Error) *store.Error {
	message := err.Message
	if todo := wechat.Remedy(err.Code); todo != "" {
		message += "; " + todo
	}
	return &store.Error{Code: err.Code, Message: message, RID: err.RID}
}

// finish gives a cloudID its final status. The record is saved by the next save.
func (r *resolution) finish(it *item, status store.Status, err *store.Error, now time.Time) {
	it.open, it.finalStatus = false, status
	it.record.Status, it.record.Error, it.record.FinishedAt = status, err, store.At(now.Add(r.ahead))
	r.count(it.record)
	r.unsaved = append(r.unsaved, it.record)
	r.finished = append(r.finished, r.finishedOf(it, now))
}

// finishedOf describes a finished cloudID for the metrics.
func (r *resolution) finishedOf(it *item, now time.Time) finishedCloudID {
	e := finishedCloudID{
		status: it.record.Status, class: it.class, left: it.sendBy.Sub(now),
		took: now.Add(r.ahead).Sub(it.record.AcceptedAt.Time),
	}
	if it.record.Error != nil {
		e.code = it.record.Error.Code
	}
	// The lifetime ended before WeChat gave a final answer.
	if e.status == store.Expired && e.class == 0 {
		e.class = wechat.ClassExpired
	}
	return e
}

// count adds a final record to the totals of the attempt.
func (r *resolution) count(rec store.Record) {
	switch rec.Status {
	case store.Resolved:
		r.resolved++
		return
	case store.Expired:
		r.expired++
	case store.Failed, store.Pending:
		r.failed++
	}
	// The archive shows the first error only.
	if r.cause == nil {
		r.cause = rec.Error
	}
}

// expireOverdue expires the open cloudIDs past their lifetime. A request for them would be
// wasted.
func (r *resolution) expireOverdue(now time.Time) {
	for i := range r.items {
		if it := &r.items[i]; it.open && !now.Before(it.sendBy) {
			r.expire(it, now)
		}
	}
}

// expire expires one cloudID.
func (r *resolution) expire(it *item, now time.Time) {
	r.finish(it, store.Expired, finalError(it, "its lifetime ended"), now)
}

// finalError returns the error of a cloudID that is finished without a final answer of WeChat.
// It includes the last answer, if there was one.
func finalError(it *item, why string) *store.Error {
	if last := it.record.Error; last != nil {
		return &store.Error{
			Code: last.Code, Message: why + "; last answer: " + last.Message, RID: last.RID,
		}
	}
	return &store.Error{Message: why + " before it was sent to WeChat"}
}

// requeueOpen requeues all open cloudIDs for a reason that concerns the app.
func (r *resolution) requeueOpen(reason string) {
	for i := range r.items {
		if it := &r.items[i]; it.open {
			it.open = false
			r.requeue.merge(requeueError{reason: reason, delay: delayApp, latest: it.sendBy})
			r.unsaved = append(r.unsaved, it.record)
		}
	}
}
