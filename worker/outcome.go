package worker

import (
	"time"

	"cloudidq/internal/wechat"
	"cloudidq/store"
)

// settle takes the answer for the index-th ask.
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
	if o.Attempts > 0 || it.record.Error == nil && told.Code != 0 {
		it.record.Error = told
	}
	if !now.Before(it.sendBy) {
		r.endAsOutlived(it, now)
		return
	}
	again := r.againFor(o.Err, now)
	again.latest = it.sendBy
	r.again.merge(again)
	it.open = false
	r.unsaved = append(r.unsaved, it.record) // pending still, with what has been tried
}

// againFor is againFor of an answer, in the light of the app's pause.
func (r *resolution) againFor(err *wechat.Error, now time.Time) againError {
	h := r.h.batcher.paused(r.payload.AppID)
	switch {
	case h != nil && (pausesApp(err) || ofPause(err)):
		return againAfter(h, now)
	case ofPause(err): // it has ended meanwhile, or is being probed
		return againError{reason: err.Message, delay: delayPaused}
	default:
		return againFor(err, now)
	}
}

// tell is an error of WeChat as a record has it: with what is to be done about it, where the code table knows.
func tell(err *wechat.Error) *store.Error {
	message := err.Message
	if todo := remedy(err.Code); todo != "" {
		message += "; " + todo
	}
	return &store.Error{Code: err.Code, Message: message, RID: err.RID}
}

func (r *resolution) end(it *item, status store.Status, err *store.Error, now time.Time) {
	it.open, it.ended = false, status
	it.record.Status, it.record.Error, it.record.FinishedAt = status, err, store.At(now.Add(r.ahead))
	r.count(it.record)
	r.unsaved = append(r.unsaved, it.record)
	r.ends = append(r.ends, r.endOf(it, now))
}

// endOf is an end as metrics take it.
func (r *resolution) endOf(it *item, now time.Time) end {
	e := end{status: it.record.Status, class: it.class, took: now.Add(r.ahead).Sub(it.record.AcceptedAt.Time), left: it.sendBy.Sub(now)}
	if it.record.Error != nil {
		e.code = it.record.Error.Code
	}
	if e.status == store.Expired && e.class == 0 { // it has outlived its lifetime here
		e.class = wechat.ClassExpired
	}
	return e
}

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
	if r.cause == nil {
		r.cause = rec.Error
	}
}

// endOutlived ends what is past its lifetime: asking would be waste.
func (r *resolution) endOutlived(now time.Time) {
	for i := range r.items {
		if it := &r.items[i]; it.open && !now.Before(it.sendBy) {
			r.endAsOutlived(it, now)
		}
	}
}

func (r *resolution) endAsOutlived(it *item, now time.Time) {
	r.end(it, store.Expired, lastWords(it, "its lifetime ended"), now)
}

// lastWords is why a cloudID ends that WeChat has said nothing final of.
func lastWords(it *item, why string) *store.Error {
	if last := it.record.Error; last != nil {
		return &store.Error{Code: last.Code, Message: why + "; last answer: " + last.Message, RID: last.RID}
	}
	return &store.Error{Message: why + " before it was asked for"}
}

// leaveOpen sends everything that is open back, for a reason that concerns the app.
func (r *resolution) leaveOpen(reason string) {
	for i := range r.items {
		if it := &r.items[i]; it.open {
			it.open = false
			r.again.merge(againError{reason: reason, delay: delayApp, latest: it.sendBy})
			r.unsaved = append(r.unsaved, it.record)
		}
	}
}
