package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/redis/go-redis/v9"

	"cloudidq/store"
	"cloudidq/tasks"
)

// Ender ends the cloudIDs of tasks that an operator takes out of the queues, in a process that has no worker: each open one
// gets its record, its delivery and its count in the backfill, as from a try.
type Ender struct {
	rdb      redis.UniversalClient
	h        *resolver
	endpoint func(ctx context.Context, appID string) (string, error) // nil = nothing is delivered
}

// EnderParts are what an Ender works with. They stay the caller's to close.
type EnderParts struct {
	Queue     redis.UniversalClient // of the queues
	Results   store.Results
	Backfills backfills // nil = nobody counts
	Webhooks  []Webhook
	// Endpoint names where an app's results go whose task names no endpoint; empty = nowhere. nil = nothing is delivered.
	Endpoint func(ctx context.Context, appID string) (string, error)
	Lifetime time.Duration // of a cloudID
	Log      *slog.Logger
}

// NewEnder returns an ender. It asks nobody for anything.
func NewEnder(parts EnderParts) *Ender {
	h := &resolver{
		lifetime: parts.Lifetime, results: parts.Results, bulk: newBulk(parts.Backfills), activity: untold{}, log: parts.Log,
	}
	if parts.Endpoint != nil {
		h.outlets = outletsOf(parts.Webhooks, func(string) string { return "" })
	}
	return &Ender{parts.Queue, h, parts.Endpoint}
}

// deletedByHand is why a cloudID failed whose task was deleted.
const deletedByHand = "an operator deleted its task"

var errNewerTask = errors.New("a task is of a newer version, whose cloudIDs this one cannot end: use the newer version")

// EndTask ends as failed all that is open of a task that waits, before it is deleted, and returns how many cloudIDs that
// were. A task that is not there, that a worker has, or that is of another type ends nothing. After an error it may be
// repeated, and the task is not to be deleted.
func (e *Ender) EndTask(ctx context.Context, queue, taskID string) (int, error) {
	found, err := readTasks(ctx, e.rdb, queue, []string{taskID})
	if err != nil {
		return 0, err
	}
	task := found[0]
	m, ok := parseMessage(task.message)
	if !ok || m.kind != tasks.TypeResolve || task.state == stateActive || task.state == stateCompleted || isRedacted(m.payload) {
		return 0, nil
	}
	p, err := tasks.ParseResolve(m.payload)
	switch {
	case errors.Is(err, tasks.ErrNewer):
		return 0, errNewerTask
	case err != nil:
		if err := e.h.bulk.lost(ctx, taskID); err != nil {
			return 0, fmt.Errorf("counting a task that cannot be read: %w", err)
		}
		return 0, nil
	}
	if e.endpoint != nil && p.Webhook == "" {
		if p.Webhook, err = e.endpoint(ctx, p.AppID); err != nil {
			return 0, fmt.Errorf("looking up where an app's results go: %w", err)
		}
	}
	ended, err := e.h.endAllOf(ctx, taskID, p, deletedByHand)
	if err != nil {
		return ended, fmt.Errorf("ending the cloudIDs of a task: %w", err)
	}
	return ended, nil
}
