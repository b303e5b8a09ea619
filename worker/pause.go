package worker

import (
	"errors"
	"time"

	"cloudidq/internal/wechat"
)

// halt keeps a lane from sending.
type halt struct {
	until time.Time
	err   *wechat.Error // the answer to whatever would be sent
	local bool          // not yet in Redis: the pauser must not take its absence there for its end
}

// pauseNews is what a lane tells the pauser: WeChat answered with trouble of the whole app, or, if err is nil, a probe
// has passed.
type pauseNews struct {
	appID string
	err   *wechat.Error
}

// errPaused is the cause of what was not sent because of a pause.
var errPaused = errors.New("the app is paused")

// pausesApp reports whether an error concerns the whole app and asking on is waste. A pause's own error is no news: it
// would begin anew what somebody may have ended meanwhile.
func pausesApp(err *wechat.Error) bool {
	return err != nil && !ofPause(err) &&
		(err.Class == wechat.ClassRate || err.Class == wechat.ClassQuota || err.Class == wechat.ClassApp)
}

// ofPause reports whether an error is what a paused lane answers instead of sending.
func ofPause(err *wechat.Error) bool { return errors.Is(err.Cause, errPaused) }

// judge stops a lane at once when WeChat says that its app must not ask, and ends a pause when a probe passes. The
// pauser makes both known to every process.
func (b *batcher) judge(l *lane, outcomes []wechat.Outcome) {
	trouble, answered := (*wechat.Error)(nil), false
	for _, o := range outcomes {
		if pausesApp(o.Err) {
			trouble = o.Err
		}
		answered = answered || o.Err == nil || o.Err.Code != 0
	}
	b.mu.Lock()
	wasProbe := l.probeOut
	l.probeOut = false
	switch {
	case trouble != nil && (l.halt == nil || l.probing):
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

func haltError(class wechat.Class, code int) *wechat.Error {
	return &wechat.Error{Class: class, Code: code, Message: errPaused.Error() + ": " + codeText(code), Cause: errPaused}
}

// classNamed is the class of a pause that another process has written.
func classNamed(reason string) wechat.Class {
	for _, class := range []wechat.Class{wechat.ClassRate, wechat.ClassQuota} {
		if class.String() == reason {
			return class
		}
	}
	return wechat.ClassApp
}

// remedy is what an operator does about an errcode.
func remedy(code int) string {
	known, _ := wechat.LookupCode(code)
	return known.Remedy
}

// closedToSending reports whether a batch must be answered instead of sent. Called with batcher.mu held.
func (l *lane) closedToSending() bool { return l.halt != nil && (!l.probing || l.probeOut) }

// haltOf is what keeps a call from sending once more, or nil. The one call that probes may.
func (b *batcher) haltOf(l *lane) *wechat.Error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if l.halt == nil || l.probing {
		return nil
	}
	return l.halt.err
}

// paused returns why and until when nothing is sent for an app, or nil.
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

// setHalt is how the pauser stops a lane, lets it probe, or, with nil, frees it.
func (b *batcher) setHalt(appID string, h *halt, probing bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if l := b.lanes[appID]; l != nil {
		l.halt, l.probing = h, probing && h != nil
	}
}

func answerAll(entries []entry, err *wechat.Error) {
	for _, e := range entries {
		e.waiter.answers <- answer{index: e.index, outcome: wechat.Outcome{CloudID: e.item.CloudID, Err: err}}
	}
}
