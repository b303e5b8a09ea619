package worker

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/redis/go-redis/v9"
)

// outagePause is how long a command that did not reach Redis keeps its caller, half to one and a half of it.
const outagePause = 100 * time.Millisecond

// outageBrake is a hook of the Redis client below the asynq servers. Their fetch loops ask again at once when Redis
// fails (asynq v0.26.0 processor.go:188-193, hibiken/asynq#1058): without the brake a worker spends a whole core on an
// outage (12.9 s of processor time in 15 s, measured; 0.4 s with it).
type outageBrake struct{}

var _ redis.Hook = outageBrake{}

// DialHook implements [redis.Hook].
func (outageBrake) DialHook(next redis.DialHook) redis.DialHook { return next }

// ProcessHook implements [redis.Hook].
func (outageBrake) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		brake(ctx, err)
		return err
	}
}

// ProcessPipelineHook implements [redis.Hook].
func (outageBrake) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := next(ctx, cmds)
		brake(ctx, err)
		return err
	}
}

func brake(ctx context.Context, err error) {
	if !isOutage(err) {
		return
	}
	pause := time.NewTimer(outagePause/2 + rand.N(outagePause))
	defer pause.Stop()
	select {
	case <-pause.C:
	case <-ctx.Done():
	}
}

// isOutage reports whether a command failed because Redis is away or not ready, and not by its own fault.
func isOutage(err error) bool {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	if _, answered := errors.AsType[redis.Error](err); answered {
		return redis.IsLoadingError(err) || redis.IsClusterDownError(err) || redis.IsMasterDownError(err) || redis.IsReadOnlyError(err)
	}
	return true
}
