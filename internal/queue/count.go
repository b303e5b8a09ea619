package queue

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
)

// Backlog returns the number of tasks of a queue that are pending, scheduled or waiting for a
// retry. Tasks of a paused app are in retry, so they count. Active tasks do not count:
// worker.concurrency bounds them.
//
// Backlog reads three counts and nothing else, so you can call it every second. asynq's
// Inspector also measures memory (asynq v0.26.0 internal/rdb/inspect.go).
func Backlog(ctx context.Context, rdb redis.Cmdable, queue string) (int, error) {
	var counts [3]*redis.IntCmd
	_, err := rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		counts = [...]*redis.IntCmd{
			p.LLen(ctx, stateKey(queue, statePending)), p.ZCard(ctx, stateKey(queue, stateScheduled)),
			p.ZCard(ctx, stateKey(queue, stateRetry)),
		}
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

// CountWaiting returns how many tasks of a queue are in a state, which is any state but active. The
// group counts for the state aggregating only.
func CountWaiting(ctx context.Context, rdb redis.Cmdable, queue, state, group string) (int, error) {
	count, key := rdb.ZCard, stateKey(queue, state)
	switch state {
	case statePending:
		count = rdb.LLen
	case stateAggregating:
		key = groupKey(queue, group)
	}
	n, err := count(ctx, key).Result()
	if err != nil {
		return 0, fmt.Errorf("counting tasks: %w", err)
	}
	return int(n), nil
}

// Count describes a queue as asynq's Inspector does, except for memory, groups and the daily
// numbers. It does not need the queue's name in asynq's set. A queue that does not exist is
// empty.
func Count(ctx context.Context, rdb redis.Cmdable, queue string) (*asynq.QueueInfo, error) {
	info := &asynq.QueueInfo{Queue: queue, Timestamp: time.Now()}
	numbers := []*int{
		&info.Pending, &info.Active, &info.Scheduled, &info.Retry, &info.Archived, &info.Completed,
	}
	var counts [6]*redis.IntCmd
	var totals [2]*redis.StringCmd
	var paused *redis.IntCmd
	var oldest *redis.StringCmd
	// These are the keys that asynq's Inspector reads.
	_, err := rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		counts = [...]*redis.IntCmd{
			p.LLen(ctx, stateKey(queue, statePending)), p.LLen(ctx, stateKey(queue, stateActive)),
			p.ZCard(ctx, stateKey(queue, stateScheduled)), p.ZCard(ctx, stateKey(queue, stateRetry)),
			p.ZCard(ctx, stateKey(queue, stateArchived)), p.ZCard(ctx, stateKey(queue, stateCompleted)),
		}
		prefix := keyPrefix(queue)
		totals = [...]*redis.StringCmd{p.Get(ctx, prefix+"processed"), p.Get(ctx, prefix+"failed")}
		paused = p.Exists(ctx, prefix+"paused")
		oldest = p.LIndex(ctx, stateKey(queue, statePending), -1)
		return nil
	})
	if err != nil && !errors.Is(err, redis.Nil) {
		return nil, fmt.Errorf("counting queue %s: %w", queue, err)
	}
	for i, n := range numbers {
		// The pipeline returns its first error, which may be a harmless redis.Nil of another
		// command.
		if counts[i].Err() != nil {
			return nil, fmt.Errorf("counting queue %s: %w", queue, counts[i].Err())
		}
		*n = int(counts[i].Val())
		info.Size += *n
	}
	info.ProcessedTotal, _ = strconv.Atoi(totals[0].Val())
	info.FailedTotal, _ = strconv.Atoi(totals[1].Val())
	info.Paused = paused.Val() == 1
	// The latency of a queue is the age of its oldest pending task.
	if id := oldest.Val(); id != "" {
		since, err := rdb.HGet(ctx, taskKey(queue, id), "pending_since").Int64()
		if err == nil {
			info.Latency = max(0, time.Since(time.Unix(0, since)))
		}
	}
	return info, nil
}
