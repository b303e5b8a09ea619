package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"

	"github.com/hibiken/asynq"

	"cloudidq/internal/wechat"
)

// errPanic is what asynq stores of a panic.
var errPanic = errors.New("the handler panicked; the log has the stack")

// recoverPanics turns a panic of a handler into an error with a fixed text, and logs the stack.
// asynq recovers as well, but it stores the panic's value with the task (processor.go:401-431
// of v0.26.0), and the value may contain data.
func recoverPanics(log *slog.Logger) asynq.MiddlewareFunc {
	return func(next asynq.Handler) asynq.Handler {
		return asynq.HandlerFunc(func(ctx context.Context, task *asynq.Task) (err error) {
			defer func() {
				if p := recover(); p != nil {
					log.Error("panic in a handler", "task_type", task.Type(), "panic_type", fmt.Sprintf("%T", p),
						"stack", string(debug.Stack()))
					err = errPanic
				}
			}()
			return next.ProcessTask(ctx, task)
		})
	}
}

// logAttempt writes the one log line of an attempt. It contains counts and codes only: no cloudID,
// no openid, no data.
func (h *resolver) logAttempt(ctx context.Context, r *resolution, err error) {
	level := slog.LevelDebug
	if err != nil {
		level = slog.LevelInfo
	}
	if !h.log.Enabled(ctx, level) {
		return
	}
	queue, _ := asynq.GetQueueName(ctx)
	retried, _ := asynq.GetRetryCount(ctx)
	attrs := []slog.Attr{
		slog.String("task_id", r.taskID), slog.String("queue", queue), slog.Int("attempt", retried+1),
		slog.String("appid", r.payload.AppID), slog.Int("cloudids", len(r.items)),
		slog.Int("resolved", r.resolved), slog.Int("failed", r.failed), slog.Int("expired", r.expired),
		slog.Int("open", r.requeue.open),
	}
	if err != nil {
		attrs = append(attrs, slog.String("error", err.Error()))
	}
	if r.cause != nil {
		attrs = append(attrs, slog.Int("errcode", r.cause.Code))
		attrs = append(attrs, wechat.RIDAttrs(r.cause.RID)...)
	}
	h.log.LogAttrs(ctx, level, "resolve", attrs...)
}
