package worker

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"cloudidq/tasks"
)

// This file takes tasks over whose producers have chosen options under which asynq gives them up, or never hands them out,
// while their cloudIDs live. They get the options of our own producers: the lifetime alone ends a cloudID.

// adoptAfter is when a task runs again that asynq has given up: it has just failed.
const adoptAfter = time.Second

// adoptScript makes an archived task one that is tried again, if it still is what has been read. The states are those of
// asynq v0.26.0 (internal/rdb/rdb.go:772 retryCmd, :861 archiveCmd).
//
// KEYS: the task, archived, retry. ARGV: its id, its message, its new message, when it is tried (Unix seconds).
var adoptScript = redis.NewScript(`
local is = redis.call("HMGET", KEYS[1], "state", "msg")
if is[1] ~= "archived" or is[2] ~= ARGV[2] or redis.call("ZREM", KEYS[2], ARGV[1]) == 0 then
	return 0
end
redis.call("HSET", KEYS[1], "msg", ARGV[3], "state", "retry")
redis.call("ZADD", KEYS[3], ARGV[4], ARGV[1])
return 1`)

// adopt runs an archived task again, under our options.
func (r *redactor) adopt(ctx context.Context, task *queuedTask) error {
	message, ok := withOwnOptions(task.message)
	if !ok {
		return nil
	}
	prefix := "asynq:{" + task.queue + "}:"
	n, err := adoptScript.Run(ctx, r.rdb, []string{task.key(), prefix + stateArchived, prefix + stateRetry},
		task.id, task.message, message, time.Now().Add(adoptAfter).Unix()).Int()
	if err != nil {
		return fmt.Errorf("taking over a task: %w", err)
	}
	if n == 1 {
		r.log.Info("took over a task that asynq has given up", "queue", task.queue, "task_id", task.id)
	}
	return nil
}

// lateTask is where tasks wait for their retry that asynq has taken away from their handler, or never given to it, because
// of their deadline or timeout. asynq tells no id there, but the moment of the retry is ours to choose.
type lateTask struct {
	queue string
	at    int64 // Unix seconds
}

// lateDelay is that of such a retry: time enough for adoptLate to find the task.
const lateDelay = 2*redactEvery + time.Second

// retryDelayOf is asynq's RetryDelayFunc for a queue.
func (r *redactor) retryDelayOf(queue string) asynq.RetryDelayFunc {
	return func(retried int, err error, task *asynq.Task) time.Duration {
		if !errors.Is(err, context.DeadlineExceeded) || task.Type() != tasks.TypeResolve {
			return retryDelay(retried, err, task)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.late[lateTask{queue, time.Now().Add(lateDelay).Unix()}] = true
		return lateDelay
	}
}

// adoptLate gives our options to the tasks that have run into their deadline or timeout and wait for their retry.
func (r *redactor) adoptLate(ctx context.Context, queue string) error {
	r.mu.Lock()
	var late []lateTask
	for one := range r.late {
		if one.queue == queue {
			late = append(late, one)
		}
	}
	r.mu.Unlock()
	for _, one := range late {
		if err := r.adoptAt(ctx, one); err != nil {
			return err
		}
		if time.Now().Unix() > one.at { // until then asynq may still be about to write it
			r.mu.Lock()
			delete(r.late, one)
			r.mu.Unlock()
		}
	}
	return nil
}

func (r *redactor) adoptAt(ctx context.Context, one lateTask) error {
	key := "asynq:{" + one.queue + "}:" + stateRetry
	// asynq takes its own look at the clock, right after ours.
	ids, err := r.rdb.ZRangeByScore(ctx, key, &redis.ZRangeBy{
		Min: strconv.FormatInt(one.at, 10), Max: strconv.FormatInt(one.at+1, 10),
	}).Result()
	if err != nil {
		return fmt.Errorf("listing tasks: %w", err)
	}
	found, err := readTasks(ctx, r.rdb, one.queue, ids)
	if err != nil {
		return err
	}
	for i := range found {
		m, ok := parseMessage(found[i].message)
		if found[i].state != stateRetry || !ok || !m.mayGiveUp() {
			continue
		}
		if message, ok := withOwnOptions(found[i].message); ok {
			if _, err := found[i].rewrite(ctx, r.rdb, message); err != nil {
				return err
			}
		}
	}
	return nil
}

// runGrouped runs the tasks that wait in a group of asynq's: cloudidq puts them together by itself, so nobody would ever
// come for them.
func (r *redactor) runGrouped(ctx context.Context, queue string) error {
	prefix := "asynq:{" + queue + "}:"
	groups, err := r.rdb.SMembers(ctx, prefix+"groups").Result()
	if err != nil {
		return fmt.Errorf("listing groups: %w", err)
	}
	for _, group := range groups {
		ids, err := r.rdb.ZRange(ctx, prefix+"g:"+group, 0, queuedPage-1).Result()
		if err != nil {
			return fmt.Errorf("listing a group: %w", err)
		}
		found, err := readTasks(ctx, r.rdb, queue, ids)
		if err != nil {
			return err
		}
		for i := range found {
			if m, ok := parseMessage(found[i].message); !ok || m.kind != tasks.TypeResolve {
				continue
			}
			err := asynq.NewInspectorFromRedisClient(r.rdb).RunTask(queue, found[i].id)
			if err != nil && !errors.Is(err, asynq.ErrTaskNotFound) && !errors.Is(err, asynq.ErrQueueNotFound) {
				return fmt.Errorf("running a grouped task: %w", err)
			}
		}
	}
	return nil
}
