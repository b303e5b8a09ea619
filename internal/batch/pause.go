package worker

import (
	"errors"
	"time"

	"cloudidq/internal/wechat"
)

// halt blocks the requests of one app.
type halt struct {
	until time.Time
	err   *wechat.Error // the answer to every cloudID that would be sent
	// local means that the pause is not in Redis yet. The pauser must not take its absence from
	// Redis for its end.
	local bool
}

// pauseNews is a report of an app queue to the pauser. If err is set, WeChat answered with an
// error that concerns the whole app. If err is nil, a probe has passed.
type pauseNews struct {
	appID string
	err   *wechat.Error
}

// errPaused is the cause of the errors for cloudIDs that were not sent because of a pause.
var errPaused = errors.New("the app is paused")

// pausesApp reports whether an error concerns the whole app, so that further requests are
// useless. The error of a pause itself does not count. Otherwise it would start a pause again
// that has been ended in the meantime.
func pausesApp(err *wechat.Error) bool {
	return err != nil && !ofPause(err) &&
		(err.Class == wechat.ClassRate || err.Class == wechat.ClassQuota || err.Class == wechat.ClassApp)
}

// ofPause reports whether err is the answer to a cloudID that was not sent because of a pause.
func ofPause(err *wechat.Error) bool { return errors.Is(err.Cause, errPaused) }

// judge checks the outcomes of a request for the start and the end of a pause. If WeChat says
// that the app must not send requests, judge blocks the app at once. If a probe passes, it ends
// the pause. It notifies the pauser, which makes the change known to all processes.
func (b *batcher) judge(l *lane, outcomes []wechat.Outcome) {
	trouble, answered := (*wechat.Error)(nil), false
	for _, o := range outcomes {
		if pausesApp(o.Err) {
			trouble = o.Err
		}
		answered = answered || o.Err == nil || o.Err.Code != 0
	}
	b.mu.Lock()
	// If this request was the probe of a pause, its answer may end the pause.
	wasProbe := l.probeOut
	l.probeOut = false
	switch {
	case trouble != nil && (l.halt == nil || l.probing):
		// This block lasts one second. Until then the pauser replaces it with the pause from
		// Redis.
		l.halt = &halt{until: time.Now().Add(time.Second), err: haltError(trouble.Class, trouble.Code), local: true}
		l.probing = false
		b.local[l] = struct{}{}
	case trouble == nil && wasProbe && answered:
		l.halt, l.probing = nil, false
	default:
		b.mu.Unlock()
		return
	}
	b.mu.Unlock()
	b.tell(pauseNews{appID: l.app.AppID, err: trouble})
}

// haltError returns the answer to cloudIDs of a paused app.
func haltError(class wechat.Class, code int) *wechat.Error {
	return &wechat.Error{Class: class, Code: code, Message: errPaused.Error() + ": " + codeText(code), Cause: errPaused}
}

// classNamed returns the class of a pause that another process has written. An unknown name is
// ClassApp.
func classNamed(reason string) wechat.Class {
	for _, class := range []wechat.Class{wechat.ClassRate, wechat.ClassQuota} {
		if class.String() == reason {
			return class
		}
	}
	return wechat.ClassApp
}

// remedy returns what an operator must do about an errcode. It is empty if the code table has
// no remedy.
func remedy(code int) string {
	known, _ := wechat.LookupCode(code)
	return known.Remedy
}

// closedToSending reports whether a batch must be answered without being sent. The caller holds
// batcher.mu.
func (l *lane) closedToSending() bool { return l.halt != nil && (!l.probing || l.probeOut) }

// haltOf returns the error that forbids a call to send again, or nil if it may. A call that is
// a probe may send again.
func (b *batcher) haltOf(l *lane) *wechat.Error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if l.halt == nil || l.probing {
		return nil
	}
	return l.halt.err
}

// paused returns a copy of the app's halt, or nil if its requests may be sent.
func (b *batcher) paused(appID string) *halt {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.lanes[appID]
	if l == nil || !l.closedToSending() {
		return nil
	}
	h := *l.halt
	return &h
}

// setHalt is how the pauser changes the state of an app. With h set it blocks the app, or
// allows it one probe if probing is true. With h nil it ends the block.
func (b *batcher) setHalt(appID string, h *halt, probing bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if l := b.lanes[appID]; l != nil {
		l.halt, l.probing = h, probing && h != nil
	}
}

// answerAll answers all entries with err.
func answerAll(entries []entry, err *wechat.Error) {
	for _, e := range entries {
		e.waiter.answers <- answer{index: e.index, outcome: wechat.Outcome{CloudID: e.item.CloudID, Err: err}}
	}
}
