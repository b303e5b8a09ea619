package queue

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"

	"cloudidq/tasks"
)

// taskPage is how many tasks are read in one round trip.
const taskPage = 200

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

// task is a task as asynq stores it. An empty message means that the task does not exist.
type task struct {
	queue, id, state string
	message          string
}

func (t *task) key() string { return taskKey(t.queue, t.id) }

// readTasks reads tasks of one queue in one round trip. The result has one entry per id,
// in the same order.
func readTasks(ctx context.Context, rdb redis.Cmdable, queue string, ids []string) ([]task, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	found, answers := make([]task, len(ids)), make([]*redis.SliceCmd, len(ids))
	_, err := rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, id := range ids {
			found[i] = task{queue: queue, id: id}
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
func (t *task) rewrite(ctx context.Context, rdb redis.Scripter, message []byte) (bool, error) {
	n, err := rewriteScript.Run(ctx, rdb, []string{t.key()}, t.message, message, t.state).Int()
	if err != nil {
		return false, fmt.Errorf("rewriting a task: %w", err)
	}
	return n == 1, nil
}

// Exist reports for each id whether the queue has a task with it, in any state. It takes one
// round trip.
func Exist(ctx context.Context, rdb redis.Cmdable, queue string, ids []string) ([]bool, error) {
	found, err := readTasks(ctx, rdb, queue, ids)
	if err != nil {
		return nil, err
	}
	exist := make([]bool, len(found))
	for i := range found {
		exist[i] = found[i].message != ""
	}
	return exist, nil
}

// OpenPayload returns the payload of a cloudid:resolve task that may have open cloudIDs and that
// no worker holds. It reports false for any other task: one that does not exist, has another
// type, is active or completed, or is redacted and thus finished.
func OpenPayload(
	ctx context.Context, rdb redis.Cmdable, queue, taskID string,
) (payload []byte, ok bool, err error) {
	found, err := readTasks(ctx, rdb, queue, []string{taskID})
	if err != nil {
		return nil, false, err
	}
	m, ok := parseMessage(found[0].message)
	if !ok || m.kind != tasks.TypeResolve || isRedacted(m.payload) {
		return nil, false, nil
	}
	if state := found[0].state; state == stateActive || state == stateCompleted {
		return nil, false, nil
	}
	return m.payload, true, nil
}
