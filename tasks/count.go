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

// queuesKey is the set in which asynq keeps the names of queues (asynq v0.26.0 internal/base/base.go:25). A producer adds a
// name once in its life, so a set that was lost stays so: asynq's Inspector and asynqmon then know no queue, while tasks
// come and go as ever.
const queuesKey = "asynq:queues"

// Announce puts the names of queues into asynq's set, where a name may be already.
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

// Count describes a queue as asynq's Inspector does, whether asynq's set names it or not, but for its memory, its groups
// and the numbers of the day. A queue that is not there is empty.
func Count(ctx context.Context, rdb redis.Cmdable, queue string) (*asynq.QueueInfo, error) {
	prefix := "asynq:{" + queue + "}:"
	info := &asynq.QueueInfo{Queue: queue, Timestamp: time.Now()}
	var counts [6]*redis.IntCmd
	var totals [2]*redis.StringCmd
	var paused *redis.IntCmd
	var oldest *redis.StringCmd
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
		if counts[i].Err() != nil { // a nil answer may stand before it
			return nil, fmt.Errorf("counting queue %s: %w", queue, counts[i].Err())
		}
		*n = int(counts[i].Val())
		info.Size += *n
	}
	info.ProcessedTotal, _ = strconv.Atoi(totals[0].Val())
	info.FailedTotal, _ = strconv.Atoi(totals[1].Val())
	info.Paused = paused.Val() == 1
	if id := oldest.Val(); id != "" {
		since, err := rdb.HGet(ctx, prefix+"t:"+id, "pending_since").Int64()
		if err == nil {
			info.Latency = max(0, time.Since(time.Unix(0, since)))
		}
	}
	return info, nil
}
