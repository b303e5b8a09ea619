package queue

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

// This file adopts tasks of external producers. Some producers set options under which asynq
// archives a task, or never gives it to a worker, while the lifetime of its cloudIDs still
// runs. Such a task gets the options of cloudidq's own producers, so that only the lifetime
// limits a cloudID.

// adoptAfter is the delay before an adopted task runs again. The task has just failed, so it
// does not run at once.
const adoptAfter = time.Second

// adoptScript moves an archived task to the retry set, if the task has not changed since it was
// read. It returns 1, or 0 if the task has changed. The states are those of asynq v0.26.0
// (internal/rdb/rdb.go:772 retryCmd, :861 archiveCmd).
//
// KEYS: the task, archived, retry. ARGV: its id, its message, its new message, the time of its
// retry (Unix seconds).
var adoptScript = redis.NewScript(`
local is = redis.call("HMGET", KEYS[1], "state", "msg")
if is[1] ~= "archived" or is[2] ~= ARGV[2] or redis.call("ZREM", KEYS[2], ARGV[1]) == 0 then
	return 0
end
redis.call("HSET", KEYS[1], "msg", ARGV[3], "state", "retry")
redis.call("ZADD", KEYS[3], ARGV[4], ARGV[1])
return 1`)

// adopt schedules a retry of an archived task, with the options of cloudidq's own producers. A
// task that has changed since it was read stays as it is.
func (r *Redactor) adopt(ctx context.Context, t *task) error {
	message, ok := withOwnOptions(t.message)
	if !ok {
		return nil
	}
	keys := []string{t.key(), stateKey(t.queue, stateArchived), stateKey(t.queue, stateRetry)}
	retryAt := time.Now().Add(adoptAfter).Unix()
	n, err := adoptScript.Run(ctx, r.rdb, keys, t.id, t.message, message, retryAt).Int()
	if err != nil {
		return fmt.Errorf("taking over a task: %w", err)
	}
	if n == 1 {
		r.log.Info("took over a task that asynq has given up", "queue", t.queue, "task_id", t.id)
	}
	return nil
}

// lateTask identifies tasks in the retry set that have run into their deadline or timeout.
// asynq took such a task away from its handler, or never gave it to the handler. asynq's
// RetryDelayFunc does not get the task id, but it chooses the retry time. So a lateTask names
// the queue and that time.
type lateTask struct {
	queue string
	at    int64 // Unix seconds
}

// lateDelay is the delay of such a retry. It gives adoptLate enough time to find the task.
const lateDelay = 2*redactEvery + time.Second

// RetryDelay returns asynq's RetryDelayFunc for a queue. It chooses and records the retry time of
// each cloudid:resolve task that has run into its deadline or timeout, so that the redactor finds
// the task. For all other tasks it calls next.
func (r *Redactor) RetryDelay(queue string, next asynq.RetryDelayFunc) asynq.RetryDelayFunc {
	return func(retried int, err error, task *asynq.Task) time.Duration {
		if !errors.Is(err, context.DeadlineExceeded) || task.Type() != tasks.TypeResolve {
			return next(retried, err, task)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.late[lateTask{queue, time.Now().Add(lateDelay).Unix()}] = true
		return lateDelay
	}
}

// adoptLate adopts the tasks that have run into their deadline or timeout and wait for their
// retry.
func (r *Redactor) adoptLate(ctx context.Context, queue string) error {
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
		if time.Now().Unix() > one.at { // before that time, asynq may not have written the task yet
			r.mu.Lock()
			delete(r.late, one)
			r.mu.Unlock()
		}
	}
	return nil
}

// adoptAt adopts the late tasks of one queue and one retry time.
func (r *Redactor) adoptAt(ctx context.Context, one lateTask) error {
	// asynq reads the clock itself, right after RetryDelay does. So its time may be in
	// the next second.
	ids, err := r.rdb.ZRangeByScore(ctx, stateKey(one.queue, stateRetry), &redis.ZRangeBy{
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

// runGrouped runs the tasks that wait in a group of asynq. cloudidq has no aggregator, because
// it batches cloudIDs itself. So no worker would ever get these tasks.
func (r *Redactor) runGrouped(ctx context.Context, queue string) error {
	groups, err := r.rdb.SMembers(ctx, groupsKey(queue)).Result()
	if err != nil {
		return fmt.Errorf("listing groups: %w", err)
	}
	inspector := asynq.NewInspectorFromRedisClient(r.rdb)
	for _, group := range groups {
		ids, err := r.rdb.ZRange(ctx, groupKey(queue, group), 0, taskPage-1).Result()
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
			err := inspector.RunTask(queue, found[i].id)
			gone := errors.Is(err, asynq.ErrTaskNotFound) || errors.Is(err, asynq.ErrQueueNotFound)
			if err != nil && !gone {
				return fmt.Errorf("running a grouped task: %w", err)
			}
		}
	}
	return nil
}
