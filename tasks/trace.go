package tasks

import (
	"context"
	"errors"
	"strings"

	"github.com/hibiken/asynq"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
)

// Span attributes that OpenTelemetry's conventions do not define. None contains a user's id or a
// cloudID.
const (
	AttrAppID    = attribute.Key("cloudidq.appid")
	AttrCloudIDs = attribute.Key("cloudidq.cloudids") // number of cloudIDs
	AttrTaskType = attribute.Key("cloudidq.task.type")
)

// headerParent is the header of a task that belongs to one call: traceparent, as defined by W3C
// Trace Context (https://www.w3.org/TR/trace-context/). An external producer may set it too.
// tracestate is not propagated, because whoever started the trace may have written anything into
// it and the queue stores headers unsealed.
const headerParent = "traceparent"

// headerLinks is the header of a task that several calls share. It holds the traceparents of all
// calls, separated by commas.
const headerLinks = "cloudidq-traceparents"

// headersOf returns the trace context of the calls that share a task as headers, or nil if none
// of the calls is traced.
func headersOf(calls []trace.SpanContext) map[string]string {
	if len(calls) == 0 {
		return nil
	}
	if len(calls) > 1 {
		return linksOf(calls)
	}
	headers := propagation.MapCarrier{}
	inject(calls[0], headers)
	return headers
}

// linksOf is headersOf for calls that must not become the task's parent.
func linksOf(calls []trace.SpanContext) map[string]string {
	if len(calls) == 0 {
		return nil
	}
	parents := make([]string, len(calls))
	for i, call := range calls {
		one := propagation.MapCarrier{}
		inject(call, one)
		parents[i] = one[headerParent]
	}
	return map[string]string{headerLinks: strings.Join(parents, ",")}
}

// inject writes the span into headers, without its tracestate.
func inject(span trace.SpanContext, into propagation.MapCarrier) {
	span = span.WithTraceState(trace.TraceState{})
	propagation.TraceContext{}.Inject(trace.ContextWithSpanContext(context.Background(), span), into)
}

// Origin returns the trace context of a task. If one call enqueued the task, the returned
// context has the span of that call. If several calls share the task, Origin returns links to
// their spans. It ignores malformed values.
func Origin(ctx context.Context, task *asynq.Task) (_ context.Context, links []trace.Link) {
	headers := task.Headers()
	if len(headers) == 0 {
		return ctx, nil
	}
	parents, several := headers[headerLinks]
	if !several {
		if span := ParseTraceparent(headers[headerParent]); span.IsValid() {
			ctx = trace.ContextWithRemoteSpanContext(ctx, span)
		}
		return ctx, nil
	}
	for parent := range strings.SplitSeq(parents, ",") {
		if span := ParseTraceparent(parent); span.IsValid() && len(links) < MaxItems {
			links = append(links, trace.Link{SpanContext: span})
		}
	}
	return ctx, links
}

// ParseTraceparent parses a traceparent of W3C Trace Context. If the text is malformed, the
// result is not valid.
func ParseTraceparent(text string) trace.SpanContext {
	ctx := propagation.TraceContext{}.Extract(context.Background(), propagation.MapCarrier{headerParent: text})
	return trace.SpanContextFromContext(ctx)
}

// Traceparent returns the span of ctx in the form of W3C Trace Context, or "" if there is none.
func Traceparent(ctx context.Context) string {
	span := trace.SpanContextFromContext(ctx)
	if !span.IsValid() {
		return ""
	}
	carrier := propagation.MapCarrier{}
	inject(span, carrier)
	return carrier[headerParent]
}

// sending is the span of a call that enqueues. If span is nil, the call is not traced.
type sending struct{ span trace.Span }

// startSend starts the span of a call for n cloudIDs if the client traces. It returns a context
// with the new span, or ctx unchanged.
func (c *Client) startSend(ctx context.Context, appID, queue string, n int) (context.Context, sending) {
	if c.tracer == nil {
		return ctx, sending{}
	}
	ctx, span := c.tracer.Start(ctx, "send "+TypeResolve, trace.WithSpanKind(trace.SpanKindProducer), trace.WithAttributes(
		semconv.MessagingSystemKey.String("asynq"), semconv.MessagingOperationName("send"), semconv.MessagingOperationTypeSend,
		semconv.MessagingDestinationName(queue), AttrTaskType.String(TypeResolve), AttrAppID.String(appID), AttrCloudIDs.Int(n),
	))
	return ctx, sending{span}
}

// end ends the span. If the call wrote one task, the span gets the task's id. If it wrote
// several, it gets their number.
func (s sending) end(taskID string, tasks int, err error) {
	if s.span == nil {
		return
	}
	switch {
	case tasks == 1 && taskID != "":
		s.span.SetAttributes(semconv.MessagingMessageID(taskID))
	case tasks > 1:
		s.span.SetAttributes(semconv.MessagingBatchMessageCount(tasks))
	}
	if err != nil { // the text of the error comes from Redis, so only the caller gets it
		s.span.SetAttributes(semconv.ErrorTypeKey.String(errorType(err)))
		s.span.SetStatus(codes.Error, "")
	}
	s.span.End()
}

// errorType returns the value of attribute error.type for an error.
func errorType(err error) string {
	switch {
	case errors.Is(err, context.Canceled):
		return "canceled"
	case errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	case errors.Is(err, ErrClosed):
		return "closed"
	default:
		return "queue"
	}
}
