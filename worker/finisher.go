package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/redis/go-redis/v9"

	"cloudidq/internal/queue"
	"cloudidq/store"
	"cloudidq/tasks"
)

// Finisher finishes the cloudIDs of tasks that an operator removes from the queues, in a process
// without a worker. Each open cloudID gets its record, its delivery and its count in the
// backfill, as after an attempt.
type Finisher struct {
	rdb      redis.UniversalClient
	h        *resolver
	endpoint func(ctx context.Context, appID string) (string, error) // nil = nothing is delivered
}

// FinisherParts are the dependencies of a Finisher. The caller closes them.
type FinisherParts struct {
	Queue     redis.UniversalClient // Redis that holds the queues
	Results   store.Results
	Backfills backfills // nil = backfills are not counted
	Webhooks  []Webhook
	// Endpoint returns the endpoint for the results of an app whose task names no endpoint. If
	// it returns "", those results are not delivered. nil = nothing is delivered.
	Endpoint func(ctx context.Context, appID string) (string, error)
	Lifetime time.Duration // of a cloudID
	Log      *slog.Logger
}

// NewFinisher returns a finisher. It makes no request by itself.
func NewFinisher(parts FinisherParts) *Finisher {
	h := &resolver{
		lifetime: parts.Lifetime, results: parts.Results, bulk: newBulk(parts.Backfills),
		activity: noActivity{}, log: parts.Log,
	}
	if parts.Endpoint != nil {
		h.outlets = outletsOf(parts.Webhooks, func(string) string { return "" })
	}
	return &Finisher{parts.Queue, h, parts.Endpoint}
}

// deletedByHand is the error message of a cloudID whose task an operator has deleted.
const deletedByHand = "an operator deleted its task"

var errNewerTask = errors.New(
	"a newer version has written the task: use that version to finish its cloudIDs")

// FinishTask finishes all open cloudIDs of a waiting task as failed, before the task is deleted.
// It returns the number of cloudIDs that it finished. It does nothing for a task that does not
// exist, that a worker has claimed, that is completed, or that has another type. It returns an
// error for a task that a newer version has written. After an error the caller must not delete
// the task, and may call FinishTask again.
func (e *Finisher) FinishTask(ctx context.Context, queueName, taskID string) (int, error) {
	payload, ok, err := queue.OpenPayload(ctx, e.rdb, queueName, taskID)
	if err != nil || !ok {
		return 0, err
	}
	p, err := tasks.ParseResolve(payload)
	switch {
	case errors.Is(err, tasks.ErrNewer):
		return 0, errNewerTask
	case err != nil:
		if err := e.h.CountUnreadable(ctx, taskID); err != nil {
			return 0, fmt.Errorf("counting a task that cannot be read: %w", err)
		}
		return 0, nil
	}
	// The results go to the endpoint that the task names, else to the app's.
	if e.endpoint != nil && p.Webhook == "" {
		if p.Webhook, err = e.endpoint(ctx, p.AppID); err != nil {
			return 0, fmt.Errorf("looking up where an app's results go: %w", err)
		}
	}
	finished, err := e.h.failAll(ctx, taskID, p, deletedByHand)
	if err != nil {
		return finished, fmt.Errorf("finishing the cloudIDs of a task: %w", err)
	}
	return finished, nil
}
