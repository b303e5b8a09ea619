package batch

import (
	"errors"
	"time"

	"cloudidq/internal/wechat"
)

// Block blocks the requests of one app.
type Block struct {
	Until time.Time
	Err   *wechat.Error // the answer to every cloudID that would be sent
	// local means that the pause is not in Redis yet. The pauser must not take its absence from
	// Redis for its end.
	local bool
}

// pauseReport is a report of an app queue to the pauser. If err is set, WeChat answered with an
// error that concerns the whole app. If err is nil, a probe has passed.
type pauseReport struct {
	appID string
	err   *wechat.Error
}

// errPaused is the cause of the errors for cloudIDs that were not sent because of a pause.
var errPaused = errors.New("the app is paused")

// PausesApp reports whether an error concerns the whole app, so that further requests are
// useless. The error of a pause itself does not count. Otherwise it would start a pause again
// that has been ended in the meantime.
func PausesApp(err *wechat.Error) bool {
	return err != nil && !OfPause(err) &&
		(err.Class == wechat.ClassRate || err.Class == wechat.ClassQuota || err.Class == wechat.ClassApp)
}

// OfPause reports whether err is the answer to a cloudID that was not sent because of a pause.
func OfPause(err *wechat.Error) bool { return errors.Is(err.Cause, errPaused) }

// detectPause checks the outcomes of a request for the start and the end of a pause. If WeChat says
// that the app must not send requests, detectPause blocks the app at once. If a probe passes, it ends
// the pause. It notifies the pauser, which makes the change known to all processes.
func (b *Batcher) detectPause(l *appQueue, outcomes []wechat.Outcome) {
	trouble, answered := (*wechat.Error)(nil), false
	for _, o := range outcomes {
		if PausesApp(o.Err) {
			trouble = o.Err
		}
		answered = answered || o.Err == nil || o.Err.Code != 0
	}
	b.mu.Lock()
	// If this request was the probe of a pause, its answer may end the pause.
	wasProbe := l.probeOut
	l.probeOut = false
	switch {
	case trouble != nil && (l.block == nil || l.probing):
		// This block lasts one second. Until then the pauser replaces it with the pause from
		// Redis.
		l.block = NewBlock(trouble.Class, trouble.Code, time.Now().Add(time.Second))
		l.block.local = true
		l.probing = false
		b.local[l] = struct{}{}
	case trouble == nil && wasProbe && answered:
		l.block, l.probing = nil, false
	default:
		b.mu.Unlock()
		return
	}
	b.mu.Unlock()
	b.report(pauseReport{appID: l.app.AppID, err: trouble})
}

// NewBlock returns a block whose reason is an errcode of WeChat.
func NewBlock(class wechat.Class, code int, until time.Time) *Block {
	return &Block{Until: until, Err: &wechat.Error{
		Class: class, Code: code, Message: errPaused.Error() + ": " + wechat.CodeText(code), Cause: errPaused,
	}}
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

// closedToSending reports whether a batch must be answered without being sent. The caller holds
// Batcher.mu.
func (l *appQueue) closedToSending() bool { return l.block != nil && (!l.probing || l.probeOut) }

// blockOf returns the error that forbids a call to send again, or nil if it may. A call that is
// a probe may send again.
func (b *Batcher) blockOf(l *appQueue) *wechat.Error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if l.block == nil || l.probing {
		return nil
	}
	return l.block.Err
}

// Paused returns a copy of the app's block, or nil if its requests may be sent.
func (b *Batcher) Paused(appID string) *Block {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.queues[appID]
	if l == nil || !l.closedToSending() {
		return nil
	}
	h := *l.block
	return &h
}

// SetBlock is how the pauser changes the state of an app. With h set it blocks the app, or
// allows it one probe if probing is true. With h nil it ends the block.
func (b *Batcher) SetBlock(appID string, h *Block, probing bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if l := b.queues[appID]; l != nil {
		l.block, l.probing = h, probing && h != nil
	}
}

// answerAll answers all entries with err.
func answerAll(entries []entry, err *wechat.Error) {
	for _, e := range entries {
		e.waiter.Answers <- Answer{Index: e.index, Outcome: wechat.Outcome{CloudID: e.item.CloudID, Err: err}}
	}
}
