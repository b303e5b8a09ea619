package worker

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"
)

func TestOutageBrake(t *testing.T) {
	for name, tc := range map[string]struct {
		err    error
		pauses bool
	}{
		"no error":      {nil, false},
		"empty queue":   {redis.Nil, false},
		"wrong command": {replyError("ERR unknown command"), false},
		"loading":       {replyError("LOADING Redis is loading the dataset in memory"), true},
		"cancelled":     {fmt.Errorf("x: %w", context.Canceled), false},
		"refused":       {errors.New("dial tcp: connection refused"), true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begun := time.Now()
				hook := outageBrake{}.ProcessHook(func(context.Context, redis.Cmder) error { return tc.err })
				if err := hook(t.Context(), nil); !errors.Is(err, tc.err) {
					t.Errorf("the hook turned %v into %v", tc.err, err)
				}
				if took := time.Since(begun); (took > 0) != tc.pauses || took > 2*outagePause {
					t.Errorf("paused %s, want a pause: %t", took, tc.pauses)
				}
			})
		})
	}
}

func TestOutageBrake_EndsWithTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		begun := time.Now()
		hook := outageBrake{}.ProcessPipelineHook(func(context.Context, []redis.Cmder) error { return errors.New("EOF") })
		_ = hook(ctx, nil)
		if took := time.Since(begun); took != 0 {
			t.Errorf("paused %s, want none", took)
		}
	})
}

// replyError is an answer of Redis.
type replyError string

func (e replyError) Error() string { return string(e) }
func (replyError) RedisError()     {}
