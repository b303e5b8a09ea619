package attempt

import (
	"context"
	"time"

	"github.com/hibiken/asynq"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"cloudidq/tasks"
)

// Attributes of spans for which OpenTelemetry's conventions have no name.
const (
	attrAttempt = attribute.Key("cloudidq.attempt")
	// attrResult has the same values as the result label of the metrics.
	attrResult = attribute.Key("cloudidq.task.result")
)

// Tracer creates the spans of attempts. A nil *Tracer creates none.
type Tracer struct{ tracer trace.Tracer }

// NewTracer returns nil if tracers is nil.
func NewTracer(tracers trace.TracerProvider) *Tracer {
	if tracers == nil {
		return nil
	}
	return &Tracer{tracers.Tracer("cloudidq/worker")} // the name that spans have always had
}

// Span is the span of one attempt of a task. The zero Span means that the attempt is not traced.
type Span struct{ span trace.Span }

// Start starts the span of an attempt that began at begun. The span is a child of the span in
// ctx, if there is one.
func (t *Tracer) Start(
	ctx context.Context, kind string, links []trace.Link, begun time.Time,
) (context.Context, Span) {
	if t == nil {
		return ctx, Span{}
	}
	queue, _ := asynq.GetQueueName(ctx)
	taskID, _ := asynq.GetTaskID(ctx)
	retried, _ := asynq.GetRetryCount(ctx)
	ctx, span := t.tracer.Start(ctx, "process "+kind,
		trace.WithSpanKind(trace.SpanKindConsumer), trace.WithLinks(links...), trace.WithTimestamp(begun),
		trace.WithAttributes(
			semconv.MessagingSystemKey.String("asynq"), semconv.MessagingOperationName("process"),
			semconv.MessagingOperationTypeProcess, semconv.MessagingDestinationName(queue),
			semconv.MessagingMessageID(taskID), tasks.AttrTaskType.String(kind), attrAttempt.Int(retried+1),
		))
	return ctx, Span{span}
}

// Traced reports whether the attempt is traced.
func (s Span) Traced() bool { return s.span != nil }

// Set adds attributes to the span.
func (s Span) Set(attributes ...attribute.KeyValue) {
	if s.span != nil {
		s.span.SetAttributes(attributes...)
	}
}

// End ends the span with the result of the attempt, from the error that the handler returned to
// asynq. Waiting for a pause or for another task is not an error.
func (s Span) End(err error) {
	if s.span == nil {
		return
	}
	result := Result(err)
	s.span.SetAttributes(attrResult.String(result))
	switch result {
	case Again, Archived:
		s.span.SetAttributes(semconv.ErrorTypeKey.String(result))
		// The text is the handler's own. It contains no submitted value and no address.
		s.span.SetStatus(codes.Error, err.Error())
	case Failed:
		s.span.SetAttributes(semconv.ErrorTypeKey.String(result))
		s.span.SetStatus(codes.Error, "") // the text may come from Redis, so it is left out
	}
	s.span.End()
}
