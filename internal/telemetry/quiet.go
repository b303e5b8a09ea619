package telemetry

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"
)

const (
	quietAfter = 50          // lines of one kind that are written within quietFor
	quietFor   = time.Second // then the rest is counted, and told in one line
	quietKinds = 1024        // kinds that are told apart at once
)

// quietHandler keeps a storm out of the log: of lines that are alike it writes the first 50 of a second and sums up the
// others in one line at its end. Lines are alike if level and message are, and what they are about: app, endpoint, queue,
// class and errcode; the rest of their attributes may differ. Debug lines are all written: who asks for them wants them.
type quietHandler struct {
	next   slog.Handler
	shared *quiet
}

// quiet is what the handlers that With makes of one share.
type quiet struct {
	mu        sync.Mutex
	kinds     map[kind]*burst // guarded by mu
	forgotten time.Time       // when what is over was dropped last; guarded by mu
	closed    bool            // guarded by mu: everything is written
}

// kind is what lines that are alike have in common.
type kind struct {
	level   slog.Level
	message string
	about   string
}

// burst is the lines of one kind since begun.
type burst struct {
	begun   time.Time
	written int
	held    int          // those that were not written
	about   []slog.Attr  // for the line that sums them up
	next    slog.Handler // which writes it
	timer   *time.Timer  // runs while held > 0
}

func newQuietHandler(next slog.Handler) *quietHandler {
	return &quietHandler{next: next, shared: &quiet{kinds: make(map[kind]*burst)}}
}

// Enabled implements [slog.Handler].
func (h *quietHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.next.Enabled(ctx, level)
}

// WithAttrs implements [slog.Handler].
func (h *quietHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &quietHandler{next: h.next.WithAttrs(attrs), shared: h.shared}
}

// WithGroup implements [slog.Handler].
func (h *quietHandler) WithGroup(name string) slog.Handler {
	return &quietHandler{next: h.next.WithGroup(name), shared: h.shared}
}

// Handle implements [slog.Handler].
func (h *quietHandler) Handle(ctx context.Context, r slog.Record) error {
	if r.Level < slog.LevelInfo || h.shared.take(h.next, r) {
		return h.next.Handle(ctx, r)
	}
	return nil
}

// isAbout are the attributes whose values tell kinds apart. Each has few values.
func isAbout(key string) bool {
	switch key {
	case "appid", "endpoint", "queue", "class", "errcode":
		return true
	default:
		return false
	}
}

func kindOf(r slog.Record) kind {
	var text strings.Builder
	r.Attrs(func(a slog.Attr) bool {
		if isAbout(a.Key) {
			text.Grow(64)
			text.WriteString(a.Key)
			text.WriteByte('=')
			text.WriteString(a.Value.String())
			text.WriteByte(0)
		}
		return true
	})
	return kind{r.Level, r.Message, text.String()}
}

// aboutOf are the attributes that tell the kind of a line.
func aboutOf(r slog.Record) (about []slog.Attr) {
	r.Attrs(func(a slog.Attr) bool {
		if isAbout(a.Key) {
			about = append(about, a)
		}
		return true
	})
	return about
}

// take reports whether a line is to be written; else it is counted.
func (q *quiet) take(next slog.Handler, r slog.Record) bool {
	k := kindOf(r)
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return true
	}
	now := time.Now()
	b := q.kinds[k]
	if b == nil && len(q.kinds) >= quietKinds {
		q.forget(now)
		if len(q.kinds) >= quietKinds { // a storm of many kinds: those beyond are told apart by their message only
			k = kind{r.Level, r.Message, ""}
			b = q.kinds[k]
		}
	}
	if b == nil || b.held == 0 && now.Sub(b.begun) >= quietFor {
		b = &burst{begun: now}
		q.kinds[k] = b
	}
	if b.written < quietAfter {
		b.written++
		return true
	}
	if b.held++; b.held == 1 {
		if b.next = next; k.about != "" {
			b.about = aboutOf(r)
		}
		b.timer = time.AfterFunc(max(0, quietFor-now.Sub(b.begun)), func() { q.end(k, b) })
	}
	return false
}

// forget drops what has nothing held and is over, at most once in quietFor. Called with mu held.
func (q *quiet) forget(now time.Time) {
	if now.Sub(q.forgotten) < quietFor {
		return
	}
	q.forgotten = now
	for k, b := range q.kinds {
		if b.held == 0 && now.Sub(b.begun) >= quietFor {
			delete(q.kinds, k)
		}
	}
}

// end sums a burst up.
func (q *quiet) end(k kind, b *burst) {
	q.mu.Lock()
	if q.kinds[k] == b {
		delete(q.kinds, k)
	}
	held := b.held
	b.held = 0
	q.mu.Unlock()
	if held > 0 {
		b.sumUp(k, held)
	}
}

// sumUp writes the line that stands for those that were held back.
func (b *burst) sumUp(k kind, held int) {
	r := slog.NewRecord(time.Now(), k.level, "more lines of this kind were not written", 0)
	r.AddAttrs(slog.String("line", k.message), slog.Int("lines", held))
	r.AddAttrs(b.about...)
	_ = b.next.Handle(context.Background(), r) // a log that cannot be written is told to nobody
}

// close sums up what is held back, and lets everything through from here on.
func (h *quietHandler) close() {
	q := h.shared
	q.mu.Lock()
	q.closed = true
	left := q.kinds
	q.kinds = nil
	q.mu.Unlock()
	for k, b := range left {
		if b.timer != nil {
			b.timer.Stop()
		}
		q.end(k, b)
	}
}
