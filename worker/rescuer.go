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

// A worker extends the lease of its tasks to 30 s every 5 s (asynq v0.26.0 rdb.go:26, server.go:521), so after its
// death a lease ends within 25 to 30 s. With these two a dead worker's tasks are back in the queue in under 35 s;
// asynq's own recoverer needs 55 to 120 s, a burnt retry and its delay, too long in a life of 5 minutes.
const (
	rescueEvery = 2 * time.Second
	rescueGrace = time.Second
	rescueMax   = 100 // tasks in one run of the script
)

// rescuer returns the tasks of dead workers to their queue. It reaches into asynq's own keys, which asynq offers no
// other way for; it is written for the layout of v0.26.0, and a test holds it against the version in go.mod.
//
// Every worker process runs one. The script is atomic, so several do not disturb each other, nor asynq's recoverer. A
// worker that is merely cut off from Redis for half a minute loses its tasks to another one: the claim of the store
// goes with the task, and records are saved once, so this costs a repeated request, not a wrong record.
type rescuer struct {
	rdb    redis.UniversalClient
	queues []string
	log    *slog.Logger

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
	keys := []string{prefix + "lease", prefix + "active", prefix + "pending"}
	n, err := rescueScript.Run(ctx, r.rdb, keys, prefix+"t:", int(rescueGrace.Seconds()), rescueMax).Int()
	if err != nil {
		return 0, fmt.Errorf("rescuing tasks: %w", err)
	}
	return n, nil
}
