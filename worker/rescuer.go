package worker

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

// Every 5 s, a worker extends the lease of its tasks to 30 s from now, by its own clock (asynq
// v0.26.0 rdb.go:26 and 1355, server.go:521). So a lease that does not change belongs to a
// worker that is dead or frozen.
//
// With the constants below, the tasks of a dead worker return to the queue in under 35 s.
// asynq's own recoverer takes 55 to 120 s, uses up a retry, and adds its delay. That is too
// long for a lifetime of 5 minutes.
const (
	rescueEvery = 2 * time.Second
	// stillFor is how long a lease must stay unchanged, by Redis's clock. It is longer than
	// heldFor. So a worker that was only frozen sends no request for the task after that time.
	stillFor = 30 * time.Second
	// lapsedFor replaces stillFor if the lease has also expired, for example because all
	// workers were down. It covers two missing heartbeats.
	lapsedFor   = 11 * time.Second
	rescueGrace = time.Second
	rescueMax   = 100 // rescued tasks in one run of the script
	// rescueKept is how long Redis retains what the script has seen. It is longer than any
	// pause between two scans.
	rescueKept = 10 * time.Minute
)

// rescuer returns the tasks of dead workers to their queue. It accesses asynq's own keys,
// because asynq has no API for this. It uses the layout of v0.26.0, and a test checks it
// against the version in go.mod.
//
// Every worker process runs a rescuer. The script is atomic, so the rescuers do not interfere
// with each other or with asynq's recoverer. A worker that is frozen, or cut off from Redis for
// half a minute, loses its tasks to another worker. It sends no request for them after heldFor.
// So the cost is at most one repeated request, and none after the result.
type rescuer struct {
	rdb    redis.UniversalClient
	queues []string
	log    *slog.Logger
	still  time.Duration // stillFor
	lapsed time.Duration // lapsedFor

	metrics *metrics
}

// run rescues until ctx ends.
func (r *rescuer) run(ctx context.Context) {
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
func (r *rescuer) rescueQueue(ctx context.Context, queue string) {
	for {
		n, err := r.rescue(ctx, queue)
		if err != nil {
			if !errors.Is(err, context.Canceled) {
				r.log.Error("cannot look for tasks of dead workers", "queue", queue, "error", err)
			}
			return
		}
		if n > 0 {
			r.metrics.rescuedTasks(queue, n)
			r.log.Warn("took tasks back from a dead worker", "queue", queue, "tasks", n)
		}
		if n < rescueMax {
			return
		}
	}
}

// rescue runs the script once, and returns how many tasks it returned to the queue.
func (r *rescuer) rescue(ctx context.Context, queue string) (int, error) {
	prefix := "asynq:{" + queue + "}:"
	keys := []string{prefix + "lease", prefix + "active", prefix + "pending", rescueKey(queue)}
	n, err := rescueScript.Run(ctx, r.rdb, keys, prefix+"t:", rescueMax, r.still.Milliseconds(), r.lapsed.Milliseconds(),
		rescueGrace.Milliseconds(), rescueKept.Milliseconds()).Int()
	if err != nil {
		return 0, fmt.Errorf("rescuing tasks: %w", err)
	}
	return n, nil
}

// rescueKey is the key of what the script has seen of the leases of a queue. It is in the
// cluster slot of asynq's keys.
func rescueKey(queue string) string { return "cloudidq:leases:{" + queue + "}" }
