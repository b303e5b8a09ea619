package worker

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"
)

// This file reads and writes task payloads in asynq's own keys, because asynq has no API for
// this. Task key and message are those of v0.26.0 (internal/base/base.go:106-232,
// internal/proto/asynq.proto). Tests check them against the version in go.mod.

// queuedPage is how many tasks are read in one round trip.
const queuedPage = 200

// The states of a task. asynq uses the same words in the keys that list the tasks of a state.
// Only an active task is held by a worker.
const (
	statePending   = "pending"
	stateActive    = "active"
	stateScheduled = "scheduled"
	stateRetry     = "retry"
	stateArchived  = "archived"
	stateCompleted = "completed"
)

// rewriteScript replaces the message of a task, if its state and message have not changed since
// they were read and the task is not active. It returns 1, or 0 if it has written nothing. A
// worker that holds a task continues with the message that it fetched, and writes that one back.
// asynq fetches a task by a script too, so a worker gets either the old message or the new one.
//
// KEYS: the task. ARGV: its message, its new message, its state.
var rewriteScript = redis.NewScript(`
local is = redis.call("HMGET", KEYS[1], "state", "msg")
if is[1] ~= ARGV[3] or is[1] == "active" or is[2] ~= ARGV[1] then
	return 0
end
redis.call("HSET", KEYS[1], "msg", ARGV[2])
return 1`)

// queuedTask is a task as asynq stores it. An empty message means that the task does not exist.
type queuedTask struct {
	queue, id, state string
	message          string
}

func (q *queuedTask) key() string { return "asynq:{" + q.queue + "}:t:" + q.id }

// readTasks reads tasks of one queue in one round trip. The result has one entry per id,
// in the same order.
func readTasks(ctx context.Context, rdb redis.UniversalClient, queue string, ids []string) ([]queuedTask, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	found, answers := make([]queuedTask, len(ids)), make([]*redis.SliceCmd, len(ids))
	_, err := rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, id := range ids {
			found[i] = queuedTask{queue: queue, id: id}
			answers[i] = p.HMGet(ctx, found[i].key(), "state", "msg")
		}
		return nil
	})
	if err != nil && !errors.Is(err, redis.Nil) {
		return nil, fmt.Errorf("reading tasks: %w", err)
	}
	for i, answer := range answers {
		if values := answer.Val(); len(values) == 2 {
			found[i].state, _ = values[0].(string)
			found[i].message, _ = values[1].(string)
		}
	}
	return found, nil
}

// rewrite replaces the message of a task. It reports false, and writes nothing, if the task has
// changed since it was read or is active.
func (q *queuedTask) rewrite(ctx context.Context, rdb redis.UniversalClient, message []byte) (bool, error) {
	n, err := rewriteScript.Run(ctx, rdb, []string{q.key()}, q.message, message, q.state).Int()
	if err != nil {
		return false, fmt.Errorf("rewriting a task: %w", err)
	}
	return n == 1, nil
}
