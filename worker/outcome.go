package worker

import (
	"time"

	"cloudidq/internal/batch"
	"cloudidq/internal/wechat"
	"cloudidq/store"
)

// settle applies the answer for the index-th ask. The cloudID is then finished, or requeued
// with what has been attempted.
func (r *resolution) settle(index int, o wechat.Outcome, now time.Time) {
	it := &r.items[r.asked[index]]
	it.record.Attempts += o.Attempts
	r.h.metrics.retried(r.payload.AppID, layerCall, o.Attempts-1)
	if o.Err == nil {
		it.record.Kind, it.record.Data = o.Kind, o.Data
		r.end(it, store.Resolved, nil, now)
		return
	}
	told := tell(o.Err)
	if status := endStatus(o.Err); status.Final() {
		it.class = o.Err.Class
		r.end(it, status, told, now)
		return
	}
	// An answer without a request does not replace WeChat's last answer.
	if o.Attempts > 0 || it.record.Error == nil && told.Code != 0 {
		it.record.Error = told
	}
	// No later attempt may send this cloudID.
	if !now.Before(it.sendBy) {
		r.endAsOutlived(it, now)
		return
	}
	again := r.againFor(o.Err, now)
	again.latest = it.sendBy
	r.again.merge(again)
	it.open = false
	r.unsaved = append(r.unsaved, it.record) // still pending, with the attempts and the last error
}

// againFor returns how the task is requeued after an error of WeChat. Unlike the function of
// the same name, it takes account of a pause of the app.
func (r *resolution) againFor(err *wechat.Error, now time.Time) againError {
	h := r.h.batcher.Paused(r.payload.AppID)
	switch {
	// The app is paused: wait for the end of the pause.
	case h != nil && (batch.PausesApp(err) || batch.OfPause(err)):
		return againAfter(h, now)
	case batch.OfPause(err): // the pause has ended meanwhile, or another request is its probe
		return againError{reason: err.Message, delay: delayPaused}
	default:
		return againFor(err, now)
	}
}

// tell converts an error of WeChat for a record. It adds the remedy if the code table has one.
func tell(err *wechat.Error) *store.Error {
	message := err.Message
	if todo := wechat.Remedy(err.Code); todo != "" {
		message += "; " + todo
	}
	return &store.Error{Code: err.Code, Message: message, RID: err.RID}
}

// end finishes a cloudID with a final status. The record is saved by the next save.
func (r *resolution) end(it *item, status store.Status, err *store.Error, now time.Time) {
	it.open, it.ended = false, status
	it.record.Status, it.record.Error, it.record.FinishedAt = status, err, store.At(now.Add(r.ahead))
	r.count(it.record)
	r.unsaved = append(r.unsaved, it.record)
	r.ends = append(r.ends, r.endOf(it, now))
}

// endOf describes a finished cloudID for the metrics.
func (r *resolution) endOf(it *item, now time.Time) end {
	e := end{status: it.record.Status, class: it.class, took: now.Add(r.ahead).Sub(it.record.AcceptedAt.Time), left: it.sendBy.Sub(now)}
	if it.record.Error != nil {
		e.code = it.record.Error.Code
	}
	if e.status == store.Expired && e.class == 0 { // its lifetime ended here, without an answer of WeChat
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

// endOutlived expires the open cloudIDs past their lifetime. A request for them would be
// wasted.
func (r *resolution) endOutlived(now time.Time) {
	for i := range r.items {
		if it := &r.items[i]; it.open && !now.Before(it.sendBy) {
			r.endAsOutlived(it, now)
		}
	}
}

// endAsOutlived expires one cloudID.
func (r *resolution) endAsOutlived(it *item, now time.Time) {
	r.end(it, store.Expired, lastWords(it, "its lifetime ended"), now)
}

// lastWords returns the error of a cloudID that is finished without a final answer of WeChat.
// It includes the last answer, if there was one.
func lastWords(it *item, why string) *store.Error {
	if last := it.record.Error; last != nil {
		return &store.Error{Code: last.Code, Message: why + "; last answer: " + last.Message, RID: last.RID}
	}
	return &store.Error{Message: why + " before it was asked for"}
}

// leaveOpen requeues all open cloudIDs for a reason that concerns the app.
func (r *resolution) leaveOpen(reason string) {
	for i := range r.items {
		if it := &r.items[i]; it.open {
			it.open = false
			r.again.merge(againError{reason: reason, delay: delayApp, latest: it.sendBy})
			r.unsaved = append(r.unsaved, it.record)
		}
	}
}
