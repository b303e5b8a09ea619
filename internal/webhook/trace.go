package webhook

import (
	"context"
	"strconv"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
)

// Span attributes that have no name in OpenTelemetry's conventions.
const (
	attrEndpoint = attribute.Key("cloudidq.webhook.endpoint")
	attrClass    = attribute.Key("cloudidq.webhook.class")
)

// start begins the span of an attempt. The returned function ends it. The span has the
// endpoint, the host and the port. It has neither path nor query, because they may contain a
// token of the receiver.
func (s *Sender) start(ctx context.Context) (context.Context, func(Attempt)) {
	if s.tracer == nil {
		return ctx, func(Attempt) {}
	}
	attrs := []attribute.KeyValue{
		semconv.HTTPRequestMethodPost, semconv.ServerAddress(s.to.Hostname()), attrEndpoint.String(s.endpoint.Name),
	}
	if port, err := strconv.Atoi(s.to.Port()); err == nil {
		attrs = append(attrs, semconv.ServerPort(port))
	}
	ctx, span := s.tracer.Start(ctx, "POST", trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(attrs...))
	return ctx, func(a Attempt) {
		span.SetAttributes(attrClass.String(string(a.Class)))
		if a.Status != 0 {
			span.SetAttributes(semconv.HTTPResponseStatusCode(a.Status))
		}
		if a.Class != OK {
			span.SetAttributes(semconv.ErrorTypeKey.String(string(a.Class)))
			span.SetStatus(codes.Error, "")
		}
		span.End()
	}
}
