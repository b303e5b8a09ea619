package worker

import (
	"context"
	"encoding/json"
	"maps"
	"time"

	"cloudidq/tasks"
)

// leftover is a task that goes back to its queue with cloudIDs of persons who were erased while it was in hand.
type leftover struct{ queue, taskID string }

type leaving struct {
	cloudIDs map[string]bool
	until    time.Time
}

// leftFor is how long it is waited for that a task is back in its queue: far longer than that takes.
const leftFor = time.Minute

// takeOut takes cloudIDs out of a task once it is back in its queue: asynq writes the payload there that it has fetched.
func (r *redactor) takeOut(queue, taskID string, cloudIDs map[string]bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.left[leftover{queue, taskID}] = leaving{cloudIDs, time.Now().Add(leftFor)}
}

// takeOutAll does so for the tasks that are back. One that has come into a worker's hands again is told of again.
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

// takeOutOf takes cloudIDs out of one task, and reports false if it is to be read again.
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
