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

var errPanic = errors.New("the handler panicked; the log has the stack")

// recoverPanics turns a panic into an error of one sentence. asynq recovers too, but stores the panic's value, which
// may hold data, with the task (processor.go:401-431 of v0.26.0).
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

// logTry writes the one line of a try. Counts and codes only: no cloudID, no openid, no data.
func (h *resolver) logTry(ctx context.Context, r *resolution, err error) {
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
		slog.Int("open", r.again.open),
	}
	if err != nil {
		attrs = append(attrs, slog.String("error", err.Error()))
	}
	if r.cause != nil {
		attrs = append(attrs, slog.Int("errcode", r.cause.Code))
		attrs = append(attrs, ridAttrs(r.cause.RID)...)
	}
	h.log.LogAttrs(ctx, level, "resolve", attrs...)
}

// ridAttrs are WeChat's request id and the moment that it stands for, for those who want to ask WeChat about it.
func ridAttrs(rid string) []slog.Attr {
	if rid == "" {
		return nil
	}
	attrs := []slog.Attr{slog.String("rid", rid)}
	if at, ok := wechat.RIDTime(rid); ok {
		attrs = append(attrs, slog.Time("rid_at", at.UTC()))
	}
	return attrs
}
