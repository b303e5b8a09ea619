package httpapi

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
)

// otherRoute is the route of a request that matches no route.
const otherRoute = "other"

// observer counts each request, creates a span for it, and logs it at level debug. All three
// name the route. They never contain the path or the query, because these contain ids.
// Ready-made middleware records the path, so observer does not use any.
type observer struct {
	mux     *http.ServeMux
	metrics *Metrics
	tracer  trace.Tracer // nil = no spans
	log     *slog.Logger
}

// requestInfo collects facts about a request while the handlers process it.
type requestInfo struct {
	route string
	key   string // the name of the key that authenticated it
}

// requestInfoKey is the context key of [passing].
type requestInfoKey struct{}

// routeFrom returns the route of a request, for code that has only the context.
func routeFrom(ctx context.Context) string {
	if p, ok := ctx.Value(requestInfoKey{}).(*requestInfo); ok {
		return p.route
	}
	return otherRoute
}

// recordKey records the name of the key that authenticated the request.
func recordKey(ctx context.Context, name string) {
	if p, ok := ctx.Value(requestInfoKey{}).(*requestInfo); ok {
		p.key = name
	}
}

// wrap returns a handler that observes a request and calls next.
func (o *observer) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		started, method, route := time.Now(), methodOf(r), o.routeOf(r)
		o.metrics.begin()
		p := &requestInfo{route: route}
		ctx, span := o.start(r, method, route)
		answer := &statusWriter{ResponseWriter: w}
		defer func() {
			took := time.Since(started)
			o.metrics.end(route, method, answer.statusCode(), took)
			endSpan(span, answer.statusCode())
			o.log.LogAttrs(ctx, slog.LevelDebug, "request", slog.String("method", method), slog.String("route", route),
				slog.Int("status", answer.statusCode()), slog.Duration("took", took), slog.String("key", p.key))
		}()
		next.ServeHTTP(answer, r.WithContext(context.WithValue(ctx, requestInfoKey{}, p)))
	})
}

// routeOf returns the pattern of the route that serves a request, without the method.
func (o *observer) routeOf(r *http.Request) string {
	_, pattern := o.mux.Handler(r)
	if at := strings.IndexByte(pattern, '/'); at >= 0 {
		return pattern[at:]
	}
	return otherRoute
}

// methodOf returns the method of a request if it is a known one, which bounds the number of labels.
func methodOf(r *http.Request) string {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return r.Method
	default:
		return "_OTHER" // the value that semconv prescribes for unknown methods
	}
}

// start starts the span of a request. If the request carries a trace context, the span is a
// child of the caller's span.
func (o *observer) start(r *http.Request, method, route string) (context.Context, trace.Span) {
	if o.tracer == nil {
		return r.Context(), nil
	}
	// Leave out tracestate. A client can put any text into it, and the server would pass it on.
	caller := propagation.MapCarrier{"traceparent": r.Header.Get("Traceparent")}
	ctx := propagation.TraceContext{}.Extract(r.Context(), caller)
	return o.tracer.Start(ctx, method+" "+route, trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(
		semconv.HTTPRequestMethodKey.String(method), semconv.HTTPRoute(route), semconv.URLScheme(schemeOf(r)),
	))
}

// schemeOf returns the URL scheme of a request.
func schemeOf(r *http.Request) string {
	if r.TLS != nil {
		return "https"
	}
	return "http"
}

// endSpan sets the status of a span and ends it. A nil span is ignored.
func endSpan(span trace.Span, status int) {
	if span == nil {
		return
	}
	span.SetAttributes(semconv.HTTPResponseStatusCode(status))
	if status >= http.StatusInternalServerError {
		span.SetAttributes(semconv.ErrorTypeKey.String(statusLabel(status)))
		span.SetStatus(codes.Error, "")
	}
	span.End()
}
