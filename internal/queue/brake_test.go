package queue

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"
)

// The brake pauses after an error that would repeat at once, and not after a normal answer.
func TestOutageBrake(t *testing.T) {
	for name, tc := range map[string]struct {
		err    error
		pauses bool
	}{
		"no error":       {nil, false},
		"empty queue":    {redis.Nil, false},
		"unknown script": {replyError("NOSCRIPT No matching script."), false},
		"cancelled":      {fmt.Errorf("x: %w", context.Canceled), false},
		"refused":        {errors.New("dial tcp: connection refused"), true},
		"loading":        {replyError("LOADING Redis is loading the dataset in memory"), true},
		"full":           {replyError("OOM command not allowed when used memory > 'maxmemory'."), true},
		"no replicas":    {replyError("NOREPLICAS Not enough good replicas to write."), true},
		"cannot save":    {replyError("MISCONF Redis is configured to save RDB snapshots"), true},
		"long script":    {replyError("BUSY Redis is busy running a script."), true},
		"no password":    {replyError("NOAUTH Authentication required."), true},
		"wrong password": {replyError("WRONGPASS invalid username-password pair"), true},
		"no right":       {replyError("NOPERM this user has no permissions to run 'evalsha'"), true},
		"slot on a move": {replyError("TRYAGAIN Multiple keys request during rehashing of slot"), true},
		"read-only":      {replyError("READONLY You can't write against a read only replica."), true},
		"no master":      {replyError("MASTERDOWN Link with MASTER is down"), true},
		"no cluster":     {replyError("CLUSTERDOWN The cluster is down"), true},
		"wrong type":     {replyError("WRONGTYPE Operation against the wrong kind of value"), true},
		"in a script":    {replyError("ERR Error running script: OOM command not allowed"), true},
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

// The pause ends with the context.
func TestOutageBrake_StopsWithTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		begun := time.Now()
		hook := outageBrake{}.ProcessPipelineHook(func(context.Context, []redis.Cmder) error {
			return errors.New("EOF")
		})
		_ = hook(ctx, nil)
		if took := time.Since(begun); took != 0 {
			t.Errorf("paused %s, want none", took)
		}
	})
}

// The brake checks each answer of a pipeline. The error of the pipeline is only that of the
// first failed command, and a later one may be an outage.
func TestOutageBrake_SeesEachAnswerOfAPipeline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nothing := redis.NewStringCmd(t.Context(), "get", "k")
		full := redis.NewStatusCmd(t.Context(), "set", "k", "v")
		nothing.SetErr(redis.Nil)
		full.SetErr(replyError("OOM command not allowed"))
		begun := time.Now()
		hook := outageBrake{}.ProcessPipelineHook(func(context.Context, []redis.Cmder) error {
			return redis.Nil
		})
		_ = hook(t.Context(), []redis.Cmder{nothing, full})
		if time.Since(begun) == 0 {
			t.Error("no pause, though the second command was refused")
		}
	})
}

// replyError is an error reply of Redis.
type replyError string

func (e replyError) Error() string { return string(e) }
func (replyError) RedisError()     {}

// answering is a client whose scripts return err.
type answering struct {
	redis.UniversalClient
	err error
}

func (a answering) EvalSha(ctx context.Context, _ string, _ []string, _ ...any) *redis.Cmd {
	return a.answer(ctx)
}

func (a answering) Eval(ctx context.Context, _ string, _ []string, _ ...any) *redis.Cmd {
	return a.answer(ctx)
}

func (a answering) answer(ctx context.Context) *redis.Cmd {
	cmd := redis.NewCmd(ctx)
	cmd.SetErr(a.err)
	return cmd
}

// The brake slows down the scripts of the asynq servers while Redis is down, and only then.
func TestBraked_Scripts(t *testing.T) {
	for name, err := range map[string]error{
		"away": errors.New("dial tcp: connection refused"), "empty": redis.Nil, "well": nil,
	} {
		synctest.Test(t, func(t *testing.T) {
			client, begun := Brake(answering{err: err}), time.Now()
			script := redis.NewScript("return 1")
			got := script.Run(t.Context(), client, nil).Err()
			if !errors.Is(got, err) {
				t.Errorf("%s: %v, want %v", name, got, err)
			}
			if paused := time.Since(begun) > 0; paused != (name == "away") {
				t.Errorf("%s: paused = %v", name, paused)
			}
		})
	}
}
