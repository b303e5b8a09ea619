package worker

import (
	"context"

	"github.com/redis/go-redis/v9"
)

// braked is the Redis client of the asynq servers. It wraps the caller's client and applies
// [outageBrake] after each script, because the loops of the servers send scripts. The brake is
// no hook of the caller's client: the client may be used elsewhere, and a second worker would
// add a second hook.
type braked struct{ redis.UniversalClient }

// EvalSha implements [redis.Scripter].
func (b braked) EvalSha(ctx context.Context, sha1 string, keys []string, args ...any) *redis.Cmd {
	return behind(ctx, b.UniversalClient.EvalSha(ctx, sha1, keys, args...))
}

// Eval implements [redis.Scripter].
func (b braked) Eval(ctx context.Context, script string, keys []string, args ...any) *redis.Cmd {
	return behind(ctx, b.UniversalClient.Eval(ctx, script, keys, args...))
}

// behind delays the caller if the answer is an outage, see [isOutage].
func behind(ctx context.Context, answered *redis.Cmd) *redis.Cmd {
	hook := outageBrake{}.ProcessHook(func(context.Context, redis.Cmder) error { return answered.Err() })
	_ = hook(ctx, answered) // answered holds the same error
	return answered
}
