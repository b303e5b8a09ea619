package worker

import (
	"context"
	"time"

	"github.com/hibiken/asynq"
	"go.opentelemetry.io/otel/attribute"

	"cloudidq/internal/attempt"
	"cloudidq/tasks"
)

// Attributes of spans for which OpenTelemetry's conventions have no name.
const (
	attrResolved = attribute.Key("cloudidq.resolved")
	attrFailed   = attribute.Key("cloudidq.failed")
	attrExpired  = attribute.Key("cloudidq.expired")
	attrOpen     = attribute.Key("cloudidq.open")
)

// startSpan starts the span of an attempt of cloudid:resolve. Its parent is the call that has
// enqueued the task. If several calls share the task, the span is linked to all of them
// instead.
func (h *resolver) startSpan(
	ctx context.Context, task *asynq.Task,
) (context.Context, attempt.Span) {
	if h.tracer == nil {
		return ctx, attempt.Span{}
	}
	ctx, links := tasks.Origin(ctx, task)
	return h.tracer.Start(ctx, task.Type(), links, time.Now())
}

// describe adds the numbers of the resolution to the span of its attempt.
func (r *resolution) describe(span attempt.Span) {
	if !span.Traced() {
		return
	}
	span.Set(
		tasks.AttrAppID.String(r.payload.AppID), tasks.AttrCloudIDs.Int(len(r.items)),
		attrResolved.Int(r.resolved), attrFailed.Int(r.failed), attrExpired.Int(r.expired),
		attrOpen.Int(r.requeue.open),
	)
}
