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

// Attributes of spans that OpenTelemetry's conventions have no name for. None holds an id of a person or a cloudID.
const (
	AttrAppID    = attribute.Key("cloudidq.appid")
	AttrCloudIDs = attribute.Key("cloudidq.cloudids") // how many
	AttrTaskType = attribute.Key("cloudidq.task.type")
)

// headerParent is the header of a task that stems from one call: traceparent, as W3C Trace Context has it
// (https://www.w3.org/TR/trace-context/), which is also what a foreign producer may set. tracestate stays behind: whoever
// began the trace may have written anything into it, and the queue keeps headers unsealed.
const headerParent = "traceparent"

// headerLinks is the header of a task that several calls share: the traceparents of all of them, comma separated.
const headerLinks = "cloudidq-traceparents"

// headersOf is the trace context of the calls that share a task, as its headers; nil if none of them is traced.
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

// linksOf is headersOf for calls none of which is to be the parent.
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

func inject(span trace.SpanContext, into propagation.MapCarrier) {
	span = span.WithTraceState(trace.TraceState{})
	propagation.TraceContext{}.Inject(trace.ContextWithSpanContext(context.Background(), span), into)
}

// Origin returns where a task comes from: ctx with the span of the call that has enqueued it, or, of several, the spans to
// link to. What is not well-formed is left out.
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

// ParseTraceparent reads the traceparent of W3C Trace Context. The result is not valid if the text is none.
func ParseTraceparent(text string) trace.SpanContext {
	ctx := propagation.TraceContext{}.Extract(context.Background(), propagation.MapCarrier{headerParent: text})
	return trace.SpanContextFromContext(ctx)
}

// Traceparent is the span of a context as W3C Trace Context writes it; empty if there is none.
func Traceparent(ctx context.Context) string {
	span := trace.SpanContextFromContext(ctx)
	if !span.IsValid() {
		return ""
	}
	carrier := propagation.MapCarrier{}
	inject(span, carrier)
	return carrier[headerParent]
}

// sending is the span of a call that enqueues; nil = it is not traced.
type sending struct{ span trace.Span }

// startSend begins the span of a call for n cloudIDs, if the client traces. The context that it returns goes on with it,
// or with what the caller has begun.
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

// end ends the span. The id is that of the one task that was written; several are counted.
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
	if err != nil { // its text is of Redis, and stays in the caller's hands
		s.span.SetAttributes(semconv.ErrorTypeKey.String(errorType(err)))
		s.span.SetStatus(codes.Error, "")
	}
	s.span.End()
}

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
