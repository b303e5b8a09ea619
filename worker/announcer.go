package worker

import (
	"context"
	"log/slog"
	"time"

	"github.com/redis/go-redis/v9"

	"cloudidq/tasks"
)

// announceEvery is how often a worker names its queues, one command.
const announceEvery = 5 * time.Second

// announcer names the queues of this worker in asynq's set of queues. Whoever deletes a queue at a dashboard, or empties
// Redis, takes the names away, and no producer gives them again before its next start.
type announcer struct {
	rdb    redis.UniversalClient
	queues []string
	log    *slog.Logger
}

// run names them until ctx ends.
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
