// Package attempt holds what the handlers of all task types share: the errors that tell asynq
// what to do with a task after an attempt, and the span of an attempt.
package attempt

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hibiken/asynq"
)

// Results of an attempt, as metric label and span attribute.
const (
	Done     = "done"
	Again    = "again"    // back to the queue, counted as a failure
	Wait     = "wait"     // back to the queue, not counted
	Archived = "archived" // no cloudID brought data, or the last attempt of a delivery failed
	Canceled = "canceled" // the worker is stopping
	Failed   = "failed"   // anything else: a panic, or asynq's timeout
)

// Requeue is an error with which a handler returns its task to the queue.
type Requeue interface {
	error
	// CountsAsFailure reports whether the attempt uses up a retry and counts as failed on the
	// dashboard. Waiting does not.
	CountsAsFailure() bool
}

// SnoozeError returns a task to the queue for a fixed time.
type SnoozeError struct {
	Reason  string // asynq stores it and the dashboard shows it: no address and no submitted value
	Delay   time.Duration
	Failure bool // the attempt failed; see Requeue
}

// Error implements error. The dashboard shows the text.
func (e *SnoozeError) Error() string { return e.Reason }

// CountsAsFailure implements [Requeue].
func (e *SnoozeError) CountsAsFailure() bool { return e.Failure }

// Archive returns the error that archives a task instead of retrying it. asynq stores the
// reason and the dashboard shows it.
func Archive(reason string) error {
	return fmt.Errorf("%s: %w", reason, asynq.SkipRetry)
}

// IsFailure is asynq's IsFailure. It reports whether an attempt uses up a retry and counts in
// the statistics.
func IsFailure(err error) bool {
	if requeue, ok := errors.AsType[Requeue](err); ok {
		return requeue.CountsAsFailure()
	}
	// A crash or a stop of the worker is not a failure of the task.
	return !errors.Is(err, asynq.ErrLeaseExpired) && !errors.Is(err, context.Canceled)
}

// Result returns what happened to a task, from the error that its handler returned to asynq.
func Result(err error) string {
	requeue, again := errors.AsType[Requeue](err)
	switch {
	case err == nil:
		return Done
	case errors.Is(err, asynq.SkipRetry):
		return Archived
	case again && requeue.CountsAsFailure():
		return Again
	case again:
		return Wait
	case errors.Is(err, context.Canceled):
		return Canceled
	default:
		return Failed
	}
}
