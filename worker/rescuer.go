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

// A worker extends the lease of its tasks to 30 s every 5 s, by its own clock (asynq v0.26.0 rdb.go:26 and 1355,
// server.go:521). So a lease that stays the same is that of a dead worker, or of one that stands still. With these a dead
// worker's tasks are back in the queue in under 35 s; asynq's own recoverer needs 55 to 120 s, a burnt retry and its delay,
// too long in a life of 5 minutes.
const (
	rescueEvery = 2 * time.Second
	// stillFor is how long a lease must stay the same, by Redis's clock. It is more than heldFor: by then the worker that
	// had the task sends nothing for it any more, should it only have stood still.
	stillFor = 30 * time.Second
	// lapsedFor is enough for a lease that has run out as well, as when all workers were away: two heartbeats are missing.
	lapsedFor   = 11 * time.Second
	rescueGrace = time.Second
	rescueMax   = 100 // tasks in one run of the script
	// rescueKept is how long it is remembered what was seen. It is longer than every pause between two looks.
	rescueKept = 10 * time.Minute
)

// rescuer returns the tasks of dead workers to their queue. It reaches into asynq's own keys, which asynq offers no
// other way for; it is written for the layout of v0.26.0, and a test holds it against the version in go.mod.
//
// Every worker process runs one. The script is atomic, so several do not disturb each other, nor asynq's recoverer. A
// worker that is cut off from Redis for half a minute, or stands still, loses its tasks to another one. It sends nothing for
// them after heldFor, so this costs a repeated request at most, and none after the result.
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

// rescue returns how many tasks went back to the queue.
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

// rescueKey is where it is remembered what was seen of the leases of a queue, in the slot of asynq's keys.
func rescueKey(queue string) string { return "cloudidq:leases:{" + queue + "}" }
