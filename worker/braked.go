package worker

import (
	"context"

	"github.com/redis/go-redis/v9"
)

// braked is the client below the asynq servers: the caller's, with the brake behind what their loops send, which are scripts. The
// caller's client gets no hook: it may be used elsewhere, and another worker would add a second one.
type braked struct{ redis.UniversalClient }

// EvalSha implements [redis.Scripter].
func (b braked) EvalSha(ctx context.Context, sha1 string, keys []string, args ...any) *redis.Cmd {
	return behind(ctx, b.UniversalClient.EvalSha(ctx, sha1, keys, args...))
}

// Eval implements [redis.Scripter].
func (b braked) Eval(ctx context.Context, script string, keys []string, args ...any) *redis.Cmd {
	return behind(ctx, b.UniversalClient.Eval(ctx, script, keys, args...))
}

// behind keeps the caller if the answer says that asking again at once is waste.
func behind(ctx context.Context, answered *redis.Cmd) *redis.Cmd {
	hook := outageBrake{}.ProcessHook(func(context.Context, redis.Cmder) error { return answered.Err() })
	_ = hook(ctx, answered) // it is in the answer
	return answered
}
