package worker

import (
	"context"
	"log/slog"
	"time"

	"github.com/redis/go-redis/v9"

	"cloudidq/tasks"
)

// announceEvery is how often a worker announces its queues. That costs one Redis command.
const announceEvery = 5 * time.Second

// announcer adds the queues of this worker to asynq's set of queues. Deleting a queue at a
// dashboard, or flushing Redis, removes its name from the set. A producer adds the name only
// once after its start, so the worker has to repeat it.
type announcer struct {
	rdb    redis.UniversalClient
	queues []string
	log    *slog.Logger
}

// run announces the queues until ctx ends.
func (a *announcer) run(ctx context.Context) {
	tick := time.NewTicker(announceEvery)
	defer tick.Stop()
	for {
		if err := tasks.Announce(ctx, a.rdb, a.queues...); err != nil && ctx.Err() == nil {
			a.log.Error("the dashboard may not know the queues", "error", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
