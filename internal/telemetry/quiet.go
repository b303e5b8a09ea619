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
	quietFor   = time.Second // the period of a burst; at its end, a summary line is written
	quietKinds = 1024        // kinds that are tracked at once
)

// quietHandler protects the log from floods of similar lines. Per second, it writes the first 50
// lines of a kind. It counts the others and reports them in one summary line at the end of the
// second.
//
// Lines are of one kind if they have the same level, message and subject. The subject is the
// values of appid, endpoint, queue, class and errcode. Other attributes may differ. Debug lines
// are always written, because whoever enables them wants all of them.
type quietHandler struct {
	next   slog.Handler
	shared *quiet
}

// quiet is the state that all handlers derived from one handler share.
type quiet struct {
	mu        sync.Mutex
	kinds     map[kind]*burst // guarded by mu
	forgotten time.Time       // when forgetLocked last ran; guarded by mu
	closed    bool            // guarded by mu; if true, every line is written
}

// kind identifies similar lines.
type kind struct {
	level   slog.Level
	message string
	about   string
}

// burst counts the lines of one kind since begun.
type burst struct {
	begun   time.Time
	written int
	dropped int          // lines that were not written
	about   []slog.Attr  // attributes of the summary line
	next    slog.Handler // writes the summary line
	timer   *time.Timer  // runs while dropped > 0
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
	if r.Level < slog.LevelInfo || h.shared.allow(h.next, r) {
		return h.next.Handle(ctx, r)
	}
	return nil
}

// isAbout reports whether an attribute belongs to the subject of a line. Each such attribute has
// few distinct values.
func isAbout(key string) bool {
	switch key {
	case "appid", "endpoint", "queue", "class", "errcode":
		return true
	default:
		return false
	}
}

// kindOf returns the kind of a line.
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

// aboutOf returns the attributes that form the subject of a line.
func aboutOf(r slog.Record) (about []slog.Attr) {
	r.Attrs(func(a slog.Attr) bool {
		if isAbout(a.Key) {
			about = append(about, a)
		}
		return true
	})
	return about
}

// allow reports whether a line may be written. Otherwise it counts the line.
func (q *quiet) allow(next slog.Handler, r slog.Record) bool {
	k := kindOf(r)
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return true
	}
	// Find the burst of this kind, or start one.
	now := time.Now()
	b := q.kinds[k]
	if b == nil && len(q.kinds) >= quietKinds {
		q.forgetLocked(now)
		if len(q.kinds) >= quietKinds { // too many kinds: ignore the subject of further ones
			k = kind{r.Level, r.Message, ""}
			b = q.kinds[k]
		}
	}
	if b == nil || b.dropped == 0 && now.Sub(b.begun) >= quietFor {
		b = &burst{begun: now}
		q.kinds[k] = b
	}
	if b.written < quietAfter {
		b.written++
		return true
	}
	// The first suppressed line starts the timer for the summary.
	if b.dropped++; b.dropped == 1 {
		if b.next = next; k.about != "" {
			b.about = aboutOf(r)
		}
		b.timer = time.AfterFunc(max(0, quietFor-now.Sub(b.begun)), func() { q.finish(k, b) })
	}
	return false
}

// forgetLocked removes the bursts that are over and have no suppressed lines. It does so at most
// once per quietFor. The caller holds mu.
func (q *quiet) forgetLocked(now time.Time) {
	if now.Sub(q.forgotten) < quietFor {
		return
	}
	q.forgotten = now
	for k, b := range q.kinds {
		if b.dropped == 0 && now.Sub(b.begun) >= quietFor {
			delete(q.kinds, k)
		}
	}
}

// finish removes a burst and writes its summary line, if any line was suppressed.
func (q *quiet) finish(k kind, b *burst) {
	q.mu.Lock()
	if q.kinds[k] == b {
		delete(q.kinds, k)
	}
	dropped := b.dropped
	b.dropped = 0
	q.mu.Unlock()
	if dropped > 0 {
		b.summarize(k, dropped)
	}
}

// summarize writes the summary line for the suppressed lines.
func (b *burst) summarize(k kind, dropped int) {
	r := slog.NewRecord(time.Now(), k.level, "similar lines were suppressed", 0)
	r.AddAttrs(slog.String("line", k.message), slog.Int("lines", dropped))
	r.AddAttrs(b.about...)
	_ = b.next.Handle(context.Background(), r) // an error of the log cannot be reported anywhere
}

// close writes the summary lines of all bursts. From then on, every line is written.
func (h *quietHandler) close() {
	q := h.shared
	q.mu.Lock()
	q.closed = true
	open := q.kinds
	q.kinds = nil
	q.mu.Unlock()
	for k, b := range open {
		if b.timer != nil {
			b.timer.Stop()
		}
		q.finish(k, b)
	}
}
