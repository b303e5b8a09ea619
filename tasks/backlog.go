package tasks

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"
)

// Backlog returns how many tasks wait in a queue for a worker. It asks for nothing else, unlike asynq's Inspector, which
// also measures memory (asynq v0.26.0 internal/rdb/inspect.go): so it may be asked every second.
func Backlog(ctx context.Context, rdb redis.UniversalClient, queue string) (int, error) {
	n, err := rdb.LLen(ctx, "asynq:{"+queue+"}:pending").Result()
	if err != nil {
		return 0, fmt.Errorf("measuring queue %s: %w", queue, err)
	}
	return int(n), nil
}
