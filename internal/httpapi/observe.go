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

// otherRoute is the route of what no route takes.
const otherRoute = "other"

// observer counts every request, makes a span of it, and writes its line in the log, at level debug. All of them name the
// route, never the path or the query, in which ids stand; so this is none of the ready-made middlewares.
type observer struct {
	mux     *http.ServeMux
	metrics *Metrics
	tracer  trace.Tracer // nil = no spans
	log     *slog.Logger
}

// passing is what is found out about a request on its way.
type passing struct {
	route string
	key   string // the name of the key it came with
}

type passingKey struct{}

// routeIn is the route of a request, for what has only its context.
func routeIn(ctx context.Context) string {
	if p, ok := ctx.Value(passingKey{}).(*passing); ok {
		return p.route
	}
	return otherRoute
}

// noteKey says which key a request has come with.
func noteKey(ctx context.Context, name string) {
	if p, ok := ctx.Value(passingKey{}).(*passing); ok {
		p.key = name
	}
}

// wrap puts the observer before next.
func (o *observer) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begun, method, route := time.Now(), methodOf(r), o.routeOf(r)
		o.metrics.begin()
		p := &passing{route: route}
		ctx, span := o.start(r, method, route)
		answer := &statusWriter{ResponseWriter: w}
		defer func() {
			took := time.Since(begun)
			o.metrics.end(route, method, answer.sent(), took)
			endSpan(span, answer.sent())
			o.log.LogAttrs(ctx, slog.LevelDebug, "request", slog.String("method", method), slog.String("route", route),
				slog.Int("status", answer.sent()), slog.Duration("took", took), slog.String("key", p.key))
		}()
		next.ServeHTTP(answer, r.WithContext(context.WithValue(ctx, passingKey{}, p)))
	})
}

// routeOf is the pattern of the route that takes a request, without its method.
func (o *observer) routeOf(r *http.Request) string {
	_, pattern := o.mux.Handler(r)
	if at := strings.IndexByte(pattern, '/'); at >= 0 {
		return pattern[at:]
	}
	return otherRoute
}

// methodOf is the method if it is one that means something.
func methodOf(r *http.Request) string {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return r.Method
	default:
		return "_OTHER" // semconv's word
	}
}

// start begins the span of a request, as a child of the caller's if that has sent its context.
func (o *observer) start(r *http.Request, method, route string) (context.Context, trace.Span) {
	if o.tracer == nil {
		return r.Context(), nil
	}
	// tracestate is left out: what stands in it is anybody's, and would be sent on.
	caller := propagation.MapCarrier{"traceparent": r.Header.Get("Traceparent")}
	ctx := propagation.TraceContext{}.Extract(r.Context(), caller)
	return o.tracer.Start(ctx, method+" "+route, trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(
		semconv.HTTPRequestMethodKey.String(method), semconv.HTTPRoute(route), semconv.URLScheme(schemeOf(r)),
	))
}

func schemeOf(r *http.Request) string {
	if r.TLS != nil {
		return "https"
	}
	return "http"
}

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
