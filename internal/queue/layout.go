// Package queue reads and changes tasks where asynq stores them in Redis.
//
// asynq has no API for what this package does: it returns the tasks of dead workers to their
// queue ([Rescuer]), redacts tasks that no worker gets ([Redactor]), erases users from queued
// tasks ([Eraser]), moves tasks ahead of others ([MoveAhead]), and counts tasks at a small and
// bounded cost ([TakeSnapshot], [Backlog], [Count], [Collector]).
//
// The key layout and the message format are those of asynq v0.26.0 (internal/base/base.go:25 and
// 106-232, internal/proto/asynq.proto). No other package knows them. If asynq changes them, the
// tests fail: they let the asynq version of go.mod write the keys.
package queue

import "cloudidq/tasks"

// queuesKey is the set of the names of all queues (asynq v0.26.0 internal/base/base.go:25).
const queuesKey = "asynq:queues"

// The states of a task. asynq uses the same words in the keys that list the tasks of a state:
// pending and active are lists, the others are sorted sets. Only an active task is owned by a
// worker. An aggregating task is listed by its group.
const (
	statePending     = "pending"
	stateActive      = "active"
	stateScheduled   = "scheduled"
	stateRetry       = "retry"
	stateArchived    = "archived"
	stateCompleted   = "completed"
	stateAggregating = "aggregating"
)

// keyPrefix returns the start of all keys of a queue.
func keyPrefix(queue string) string { return "asynq:{" + queue + "}:" }

// stateKey returns the key that lists the tasks of a state. The head of the pending list, where
// asynq fetches tasks, is its right end.
func stateKey(queue, state string) string { return keyPrefix(queue) + state }

// taskPrefix returns the start of the keys of a queue's tasks. The id of the task follows.
func taskPrefix(queue string) string { return keyPrefix(queue) + "t:" }

// taskKey returns the key of a task: a hash with its state and its message.
func taskKey(queue, id string) string { return taskPrefix(queue) + id }

// leaseKey returns the key of the sorted set of active tasks by the expiry of their lease.
func leaseKey(queue string) string { return keyPrefix(queue) + "lease" }

// groupsKey returns the key of the set of a queue's groups.
func groupsKey(queue string) string { return keyPrefix(queue) + "groups" }

// groupKey returns the key of the sorted set of the tasks in a group.
func groupKey(queue, group string) string { return keyPrefix(queue) + "g:" + group }

// WithCloudIDs returns the queues that hold cloudid:resolve tasks.
func WithCloudIDs() []string { return []string{tasks.QueueEvents, tasks.QueueBackfill} }
