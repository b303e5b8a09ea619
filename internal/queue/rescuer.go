package queue

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/redis/go-redis/v9"
)

//go:embed rescue.lua
var rescueLua string

var rescueScript = redis.NewScript(rescueLua)

// Every 5 s, an asynq server extends the lease of its tasks to 30 s from now, by its own clock
// (asynq v0.26.0 rdb.go:26 and 1355, server.go:521). So a lease that does not change belongs to a
// worker that is dead or frozen.
//
// With the constants below, the tasks of a dead worker return to the queue in under 35 s.
// asynq's own recoverer takes 55 to 120 s, which is too long for a lifetime of 5 minutes.
const (
	rescueEvery = 2 * time.Second
	// DeadAfter is how long the lease of a task must stay unchanged, by Redis's clock, until its
	// worker counts as dead. A worker must begin no request for a task that it has owned for that
	// long: it may have been frozen, and another worker has the task.
	DeadAfter = 30 * time.Second
	// lapsedFor replaces DeadAfter if the lease has also expired, for example because all
	// workers were down. It covers two missing heartbeats.
	lapsedFor   = 11 * time.Second
	rescueGrace = time.Second
	rescueMax   = 100 // rescued tasks in one run of the script
	// rescueKept is how long Redis retains what the script has seen. It is longer than any
	// pause between two scans.
	rescueKept = 10 * time.Minute
)

// Rescuer returns the tasks of dead workers to their queue.
//
// Every worker process runs one. The script is atomic, so the rescuers do not interfere with
// each other or with asynq's recoverer. A worker that is frozen, or cut off from Redis for half
// a minute, loses its tasks to another worker. It begins no request for them after [DeadAfter].
// So the cost is at most one repeated request, and none after the result.
type Rescuer struct {
	rdb    redis.UniversalClient
	queues []string
	count  func(queue string, rescued int)
	log    *slog.Logger

	deadAfter time.Duration // DeadAfter
	lapsedFor time.Duration // lapsedFor
}

// NewRescuer returns a rescuer of queues. It calls count after each rescue with the number of
// tasks. It does nothing before Run.
func NewRescuer(
	rdb redis.UniversalClient, queues []string, count func(queue string, rescued int),
	log *slog.Logger,
) *Rescuer {
	return &Rescuer{
		rdb: rdb, queues: queues, count: count, log: log, deadAfter: DeadAfter, lapsedFor: lapsedFor,
	}
}

// Run looks for tasks of dead workers every two seconds, until ctx ends.
func (r *Rescuer) Run(ctx context.Context) {
	tick := time.NewTicker(rescueEvery)
	defer tick.Stop()
	for {
		for _, queue := range r.queues {
			r.rescueQueue(ctx, queue)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// rescueQueue runs the script until no task is left to rescue. It logs errors.
func (r *Rescuer) rescueQueue(ctx context.Context, queue string) {
	for {
		n, err := r.rescue(ctx, queue)
		if err != nil {
			if !errors.Is(err, context.Canceled) {
				r.log.Error("cannot look for tasks of dead workers", "queue", queue, "error", err)
			}
			return
		}
		if n > 0 {
			r.count(queue, n)
			r.log.Warn("took tasks back from a dead worker", "queue", queue, "tasks", n)
		}
		if n < rescueMax {
			return
		}
	}
}

// rescue runs the script once, and returns how many tasks it returned to the queue.
func (r *Rescuer) rescue(ctx context.Context, queue string) (int, error) {
	keys := []string{
		leaseKey(queue), stateKey(queue, stateActive), stateKey(queue, statePending), rescueKey(queue),
	}
	n, err := rescueScript.Run(ctx, r.rdb, keys, taskPrefix(queue), rescueMax,
		r.deadAfter.Milliseconds(), r.lapsedFor.Milliseconds(),
		rescueGrace.Milliseconds(), rescueKept.Milliseconds()).Int()
	if err != nil {
		return 0, fmt.Errorf("rescuing tasks: %w", err)
	}
	return n, nil
}

// rescueKey is the key of what the script has seen of the leases of a queue. It is in the
// cluster slot of asynq's keys.
func rescueKey(queue string) string { return "cloudidq:leases:{" + queue + "}" }
