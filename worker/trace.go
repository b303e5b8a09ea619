package worker

import (
	"context"
	"time"

	"github.com/hibiken/asynq"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"cloudidq/store"
	"cloudidq/tasks"
)

// Attributes of spans for which OpenTelemetry's conventions have no name.
const (
	attrTry      = attribute.Key("cloudidq.attempt")
	attrResult   = attribute.Key("cloudidq.task.result") // same values as the result label of the metrics
	attrResolved = attribute.Key("cloudidq.resolved")
	attrFailed   = attribute.Key("cloudidq.failed")
	attrExpired  = attribute.Key("cloudidq.expired")
	attrOpen     = attribute.Key("cloudidq.open")
	attrResults  = attribute.Key("cloudidq.webhook.results")
	attrEndpoint = attribute.Key("cloudidq.webhook.endpoint")
)

// tracing creates the spans of attempts. A nil *tracing creates none.
type tracing struct{ tracer trace.Tracer }

// newTracing returns nil if tracers is nil.
func newTracing(tracers trace.TracerProvider) *tracing {
	if tracers == nil {
		return nil
	}
	return &tracing{tracers.Tracer("cloudidq/worker")}
}

// try is the span of one attempt of a task. A nil span means that the attempt is not traced.
type try struct{ span trace.Span }

// resolve starts the span of an attempt of cloudid:resolve. Its parent is the call that has
// enqueued the task. If several calls share the task, the span is linked to all of them
// instead.
func (t *tracing) resolve(ctx context.Context, task *asynq.Task) (context.Context, try) {
	if t == nil {
		return ctx, try{}
	}
	ctx, links := tasks.Origin(ctx, task)
	return t.process(ctx, task.Type(), links, time.Now())
}

// deliver starts the span of an attempt of webhook:deliver. begun is when the attempt began,
// before the delivery was loaded. The span's parent is the attempt that has saved the results.
// If several attempts have, the span is linked to all of them instead.
func (t *tracing) deliver(ctx context.Context, task *asynq.Task, d *store.Delivery, begun time.Time) (context.Context, try) {
	if t == nil {
		return ctx, try{}
	}
	var links []trace.Link
	for _, parent := range d.Traces {
		if span := tasks.ParseTraceparent(parent); span.IsValid() {
			links = append(links, trace.Link{SpanContext: span})
		}
	}
	if len(links) == 1 {
		ctx, links = trace.ContextWithRemoteSpanContext(ctx, links[0].SpanContext), nil
	}
	ctx, one := t.process(ctx, task.Type(), links, begun)
	one.span.SetAttributes(tasks.AttrAppID.String(d.AppID), attrEndpoint.String(d.Endpoint), attrResults.Int(len(d.Items)))
	return ctx, one
}

// process starts a span with the attributes that all task types share.
func (t *tracing) process(ctx context.Context, kind string, links []trace.Link, begun time.Time) (context.Context, try) {
	queue, _ := asynq.GetQueueName(ctx)
	taskID, _ := asynq.GetTaskID(ctx)
	retried, _ := asynq.GetRetryCount(ctx)
	ctx, span := t.tracer.Start(ctx, "process "+kind, trace.WithSpanKind(trace.SpanKindConsumer), trace.WithLinks(links...),
		trace.WithTimestamp(begun), trace.WithAttributes(
			semconv.MessagingSystemKey.String("asynq"), semconv.MessagingOperationName("process"),
			semconv.MessagingOperationTypeProcess, semconv.MessagingDestinationName(queue), semconv.MessagingMessageID(taskID),
			tasks.AttrTaskType.String(kind), attrTry.Int(retried+1),
		))
	return ctx, try{span}
}

// end ends the span with the result of the attempt, from the error that the handler returned to
// asynq. Waiting for a pause or for another task is not an error.
func (t try) end(err error) {
	if t.span == nil {
		return
	}
	result := tryResult(err)
	t.span.SetAttributes(attrResult.String(result))
	switch result {
	case tryAgain, tryArchived:
		t.span.SetAttributes(semconv.ErrorTypeKey.String(result))
		t.span.SetStatus(codes.Error, err.Error()) // the text of retry.go, which contains no value and no address
	case tryFailed:
		t.span.SetAttributes(semconv.ErrorTypeKey.String(result))
		t.span.SetStatus(codes.Error, "") // the text may come from Redis, so it is left out
	}
	t.span.End()
}

// settle adds the numbers of a resolution to the span.
func (t try) settle(r *resolution) {
	if t.span == nil {
		return
	}
	t.span.SetAttributes(
		tasks.AttrAppID.String(r.payload.AppID), tasks.AttrCloudIDs.Int(len(r.items)), attrResolved.Int(r.resolved),
		attrFailed.Int(r.failed), attrExpired.Int(r.expired), attrOpen.Int(r.again.open),
	)
}
