package queue

import (
	"context"
	"encoding/json"
	"maps"
	"time"

	"cloudidq/tasks"
)

// taskRef identifies a task.
type taskRef struct{ queue, taskID string }

// deferredRedaction lists the cloudIDs of erased users that a task loses once it is back in its
// queue.
type deferredRedaction struct {
	cloudIDs map[string]bool
	until    time.Time
}

// deferFor bounds the wait for an in-flight task to return to its queue. The return takes far
// less time.
const deferFor = time.Minute

// Defer schedules the removal of cloudIDs from a task that a worker holds. They are removed once
// the task is back in its queue, because asynq writes the payload there that it had fetched. It
// is safe to call at any time and from any goroutine.
func (r *Redactor) Defer(queue, taskID string, cloudIDs map[string]bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.deferred[taskRef{queue, taskID}] = deferredRedaction{cloudIDs, time.Now().Add(deferFor)}
}

// redactDeferred removes the scheduled cloudIDs from the tasks that are back. If a worker has
// claimed such a task again, that attempt schedules its own removal.
func (r *Redactor) redactDeferred(ctx context.Context) error {
	r.mu.Lock()
	deferred := maps.Clone(r.deferred)
	r.mu.Unlock()
	byQueue := make(map[string][]string)
	for ref := range deferred {
		byQueue[ref.queue] = append(byQueue[ref.queue], ref.taskID)
	}
	for queue, ids := range byQueue {
		found, err := readTasks(ctx, r.rdb, queue, ids)
		if err != nil {
			return err
		}
		for i := range found {
			ref := taskRef{queue, found[i].id}
			done, err := r.removeCloudIDs(ctx, &found[i], deferred[ref].cloudIDs)
			if err != nil {
				return err
			}
			if done || time.Now().After(deferred[ref].until) {
				r.mu.Lock()
				delete(r.deferred, ref)
				r.mu.Unlock()
			}
		}
	}
	return nil
}

// removeCloudIDs removes cloudIDs from one task. It reports false if the task must be read
// again: a worker has it, or it has changed since it was read.
func (r *Redactor) removeCloudIDs(
	ctx context.Context, t *task, cloudIDs map[string]bool,
) (done bool, err error) {
	if t.state == stateActive {
		return false, nil
	}
	message, ok := withPayload([]byte(t.message), func(payload []byte) ([]byte, bool) {
		p, err := tasks.ParseResolve(payload)
		if err != nil {
			return nil, false
		}
		removed := p.TakeOut(func(it tasks.Item) bool { return cloudIDs[it.CloudID] })
		if len(removed) == 0 {
			return nil, false
		}
		text, err := json.Marshal(p)
		return text, err == nil
	})
	if !ok {
		return true, nil
	}
	return t.rewrite(ctx, r.rdb, message)
}
