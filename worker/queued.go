package worker

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"
)

// This file reads and writes the payloads of tasks in asynq's own keys, which asynq offers no other way for: task key and
// message are those of v0.26.0 (internal/base/base.go:106-232, internal/proto/asynq.proto), and tests hold it against the
// version in go.mod.

const queuedPage = 200

// The states of a task, as asynq calls them and the keys that list them. Only an active one is in somebody's hands.
const (
	statePending   = "pending"
	stateActive    = "active"
	stateScheduled = "scheduled"
	stateRetry     = "retry"
	stateArchived  = "archived"
	stateCompleted = "completed"
)

// rewriteScript writes the message of a task if state and message are as they have been read and no worker has it in hand:
// one that has would go on with what it was given, and write that back. Fetching a task is a script as well, so that a
// worker gets the one message or the other.
var rewriteScript = redis.NewScript(`
local is = redis.call("HMGET", KEYS[1], "state", "msg")
if is[1] ~= ARGV[3] or is[1] == "active" or is[2] ~= ARGV[1] then
	return 0
end
redis.call("HSET", KEYS[1], "msg", ARGV[2])
return 1`)

// queuedTask is a task as asynq stores it; without a message it is gone.
type queuedTask struct {
	queue, id, state string
	message          string
}

func (q *queuedTask) key() string { return "asynq:{" + q.queue + "}:t:" + q.id }

// readTasks reads tasks of one queue in one round trip.
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

// rewrite writes another message of a task, and reports false if it is not as it was read any more, or in hand.
func (q *queuedTask) rewrite(ctx context.Context, rdb redis.UniversalClient, message []byte) (bool, error) {
	n, err := rewriteScript.Run(ctx, rdb, []string{q.key()}, q.message, message, q.state).Int()
	if err != nil {
		return false, fmt.Errorf("rewriting a task: %w", err)
	}
	return n == 1, nil
}
