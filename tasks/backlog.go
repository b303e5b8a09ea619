package tasks

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"
)

// Backlog returns the number of tasks of a queue that are pending, scheduled or waiting for a
// retry. Tasks of a paused app are in retry, so they count. Active tasks do not count:
// worker.concurrency bounds them.
//
// Backlog reads three counts and nothing else, so you can call it every second. asynq's
// Inspector also measures memory (asynq v0.26.0 internal/rdb/inspect.go).
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
