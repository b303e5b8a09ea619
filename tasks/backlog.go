package tasks

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"
)

// Backlog returns how many tasks wait in a queue: for a worker, for their moment, or for their next try, as those of a
// paused app do. What workers are trying is not among them: worker.concurrency bounds that. It asks for nothing else,
// unlike asynq's Inspector, which also measures memory (asynq v0.26.0 internal/rdb/inspect.go): so it may be asked every
// second.
func Backlog(ctx context.Context, rdb redis.Cmdable, queue string) (int, error) {
	prefix := "asynq:{" + queue + "}:"
	var counts [3]*redis.IntCmd
	_, err := rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		counts = [...]*redis.IntCmd{p.LLen(ctx, prefix+"pending"), p.ZCard(ctx, prefix+"scheduled"), p.ZCard(ctx, prefix+"retry")}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("measuring queue %s: %w", queue, err)
	}
	n := 0
	for _, count := range counts {
		n += int(count.Val())
	}
	return n, nil
}
