package tasks

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
)

// queuesKey is the set in which asynq stores the names of the queues (asynq v0.26.0
// internal/base/base.go:25). An asynq client adds a name only once in its lifetime, so a lost
// set does not come back. asynq's Inspector and asynqmon then show no queue, although the tasks
// are processed as usual.
const queuesKey = "asynq:queues"

// Announce adds the names of queues to asynq's set. Names that are already in the set are no
// error.
func Announce(ctx context.Context, rdb redis.Cmdable, queues ...string) error {
	names := make([]any, len(queues))
	for i, queue := range queues {
		names[i] = queue
	}
	if err := rdb.SAdd(ctx, queuesKey, names...).Err(); err != nil {
		return fmt.Errorf("naming the queues: %w", err)
	}
	return nil
}

// Count describes a queue as asynq's Inspector does, except for memory, groups and the daily
// numbers. It does not need the queue's name in asynq's set. A queue that does not exist is
// empty.
func Count(ctx context.Context, rdb redis.Cmdable, queue string) (*asynq.QueueInfo, error) {
	prefix := "asynq:{" + queue + "}:"
	info := &asynq.QueueInfo{Queue: queue, Timestamp: time.Now()}
	var counts [6]*redis.IntCmd
	var totals [2]*redis.StringCmd
	var paused *redis.IntCmd
	var oldest *redis.StringCmd
	// These are the keys that asynq's Inspector reads.
	_, err := rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		counts = [...]*redis.IntCmd{
			p.LLen(ctx, prefix+"pending"), p.LLen(ctx, prefix+"active"), p.ZCard(ctx, prefix+"scheduled"),
			p.ZCard(ctx, prefix+"retry"), p.ZCard(ctx, prefix+"archived"), p.ZCard(ctx, prefix+"completed"),
		}
		totals = [...]*redis.StringCmd{p.Get(ctx, prefix+"processed"), p.Get(ctx, prefix+"failed")}
		paused, oldest = p.Exists(ctx, prefix+"paused"), p.LIndex(ctx, prefix+"pending", -1)
		return nil
	})
	if err != nil && !errors.Is(err, redis.Nil) {
		return nil, fmt.Errorf("counting queue %s: %w", queue, err)
	}
	for i, n := range []*int{&info.Pending, &info.Active, &info.Scheduled, &info.Retry, &info.Archived, &info.Completed} {
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
		since, err := rdb.HGet(ctx, prefix+"t:"+id, "pending_since").Int64()
		if err == nil {
			info.Latency = max(0, time.Since(time.Unix(0, since)))
		}
	}
	return info, nil
}
