package queue

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/redis/go-redis/v9"
)

// announceEvery is how often a worker announces its queues. That costs one Redis command.
const announceEvery = 5 * time.Second

// Announcer adds the names of queues to asynq's set of queues. Deleting a queue at a dashboard,
// or flushing Redis, removes its name from the set. An asynq client adds a name only once in its
// lifetime, so a lost name does not come back by itself. asynq's Inspector and asynqmon then do
// not show the queue, although its tasks are processed as usual.
type Announcer struct {
	rdb    redis.Cmdable
	queues []string
	log    *slog.Logger
}

// NewAnnouncer returns an announcer of queues. It does nothing before Run.
func NewAnnouncer(rdb redis.Cmdable, queues []string, log *slog.Logger) *Announcer {
	return &Announcer{rdb, queues, log}
}

// Run announces the queues every five seconds, until ctx ends. It logs errors.
func (a *Announcer) Run(ctx context.Context) {
	tick := time.NewTicker(announceEvery)
	defer tick.Stop()
	for {
		if err := a.announce(ctx); err != nil && ctx.Err() == nil {
			a.log.Error("the dashboard may not know the queues", "error", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// announce adds the names to the set. Names that are already in the set are no error.
func (a *Announcer) announce(ctx context.Context) error {
	names := make([]any, len(a.queues))
	for i, queue := range a.queues {
		names[i] = queue
	}
	if err := a.rdb.SAdd(ctx, queuesKey, names...).Err(); err != nil {
		return fmt.Errorf("announcing the queues: %w", err)
	}
	return nil
}
