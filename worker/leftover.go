package worker

import (
	"context"
	"encoding/json"
	"maps"
	"time"

	"cloudidq/tasks"
)

// leftover is a task that is being requeued and whose payload contains cloudIDs of users who
// were erased during the attempt.
type leftover struct{ queue, taskID string }

// leaving is the deferred redaction of one task.
type leaving struct {
	cloudIDs map[string]bool
	until    time.Time
}

// leftFor bounds the wait for an in-flight task to return to its queue. The return takes far
// less time.
const leftFor = time.Minute

// takeOut schedules the removal of cloudIDs from a task. They are removed once the task is back
// in its queue, because asynq writes the payload there that it had fetched.
func (r *redactor) takeOut(queue, taskID string, cloudIDs map[string]bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.left[leftover{queue, taskID}] = leaving{cloudIDs, time.Now().Add(leftFor)}
}

// takeOutAll removes the scheduled cloudIDs from the tasks that are back. If a worker has
// claimed such a task again, that attempt schedules its own removal.
func (r *redactor) takeOutAll(ctx context.Context) error {
	r.mu.Lock()
	left := maps.Clone(r.left)
	r.mu.Unlock()
	inQueue := make(map[string][]string)
	for of := range left {
		inQueue[of.queue] = append(inQueue[of.queue], of.taskID)
	}
	for queue, ids := range inQueue {
		found, err := readTasks(ctx, r.rdb, queue, ids)
		if err != nil {
			return err
		}
		for i := range found {
			of := leftover{queue, found[i].id}
			done, err := r.takeOutOf(ctx, &found[i], left[of].cloudIDs)
			if err != nil {
				return err
			}
			if done || time.Now().After(left[of].until) {
				r.mu.Lock()
				delete(r.left, of)
				r.mu.Unlock()
			}
		}
	}
	return nil
}

// takeOutOf removes cloudIDs from one task. It reports false if the task must be read again: a
// worker has it, or it has changed since it was read.
func (r *redactor) takeOutOf(ctx context.Context, task *queuedTask, cloudIDs map[string]bool) (done bool, err error) {
	if task.state == stateActive {
		return false, nil
	}
	message, ok := withPayload([]byte(task.message), func(payload []byte) ([]byte, bool) {
		p, err := tasks.ParseResolve(payload)
		if err != nil || len(p.TakeOut(func(it tasks.Item) bool { return cloudIDs[it.CloudID] })) == 0 {
			return nil, false
		}
		text, err := json.Marshal(p)
		return text, err == nil
	})
	if !ok {
		return true, nil
	}
	return task.rewrite(ctx, r.rdb, message)
}
