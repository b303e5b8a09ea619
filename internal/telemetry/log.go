package telemetry

import (
	"context"
	"io"
	"log/slog"
	"strings"

	"go.opentelemetry.io/otel/trace"

	"cloudidq/internal/secret"
)

// NewLogger returns a logger that writes JSON, or text if format is "text". level is the minimum
// level: debug, info, warn or error. Any other level means info. Lines of a traced call carry
// trace_id and span_id.
//
// Unlike the logger of [New], it suppresses no lines and needs no shutdown. It is for commands
// that run once.
func NewLogger(out io.Writer, level, format string) *slog.Logger {
	return slog.New(tracedHandler{newHandler(out, level, format)})
}

// newHandler returns a handler for NewLogger and [New].
func newHandler(out io.Writer, level, format string) slog.Handler {
	var least slog.Level
	if err := least.UnmarshalText([]byte(level)); err != nil {
		least = slog.LevelInfo // the configuration is already validated
	}
	opts := &slog.HandlerOptions{Level: least, ReplaceAttr: withoutCredentials}
	if format == "text" {
		return slog.NewTextHandler(out, opts)
	}
	return slog.NewJSONHandler(out, opts)
}

// withoutCredentials redacts the credentials in URLs. Libraries quote URLs in their errors, for
// example an OTLP endpoint with a token.
func withoutCredentials(_ []string, a slog.Attr) slog.Attr {
	text := ""
	switch a.Value.Kind() {
	case slog.KindString:
		text = a.Value.String()
	case slog.KindAny:
		if err, ok := a.Value.Any().(error); ok {
			text = err.Error()
		}
	}
	if strings.Contains(text, "://") || strings.Contains(text, "password") {
		a.Value = slog.StringValue(secret.URLsIn(text))
	}
	return a
}

// tracedHandler adds the ids of the context's span to each line.
type tracedHandler struct{ slog.Handler }

// Handle implements [slog.Handler].
func (h tracedHandler) Handle(ctx context.Context, r slog.Record) error {
	if span := trace.SpanContextFromContext(ctx); span.IsValid() {
		r.AddAttrs(slog.String("trace_id", span.TraceID().String()), slog.String("span_id", span.SpanID().String()))
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs implements [slog.Handler].
func (h tracedHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return tracedHandler{h.Handler.WithAttrs(attrs)}
}

// WithGroup implements [slog.Handler].
func (h tracedHandler) WithGroup(name string) slog.Handler {
	return tracedHandler{h.Handler.WithGroup(name)}
}
