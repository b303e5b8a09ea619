package tasks

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
	"google.golang.org/protobuf/encoding/protowire"
)

// Snapshot is the state of a queue.
type Snapshot struct {
	Queue     string
	Pending   int // tasks that wait for a worker
	Active    int // tasks that a worker has claimed
	Scheduled int // tasks that start later
	Retry     int // tasks that are retried later
	Archived  int
	// Waiting has the oldest cloudID of each app whose tasks are in the sample that Look reads.
	Waiting []Waiting
}

// Waiting is the oldest cloudID of an app in the sample.
type Waiting struct {
	AppID string
	Since time.Time // when it was obtained
}

// Look reads a bounded number of tasks and never a whole queue. Pending tasks are ordered by
// age, so Look reads the oldest. Other tasks have another order or none, so Look reads enough of
// them to rarely miss an important one.
const (
	lookPending = 8
	lookActive  = 32
	lookDelayed = 32
)

// Look takes a snapshot of a queue in two round trips, whatever the queue's length. A requeued task
// still names all of its cloudIDs, including final ones. Look therefore ignores cloudIDs past their
// lifetime, unless a task holds no others.
//
// Look reads asynq's own keys. asynq's Inspector would read the same keys and the memory of
// every task (asynq v0.26.0 internal/rdb/inspect.go). A test compares the key layout with the
// asynq version in go.mod. A queue that does not exist is empty.
func Look(ctx context.Context, rdb redis.Cmdable, queue string, lifetime time.Duration) (Snapshot, error) {
	prefix := "asynq:{" + queue + "}:"
	s := Snapshot{Queue: queue}
	var counts [5]*redis.IntCmd
	var ids [4]*redis.StringSliceCmd
	_, err := rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		counts = [...]*redis.IntCmd{
			p.LLen(ctx, prefix+"pending"), p.LLen(ctx, prefix+"active"), p.ZCard(ctx, prefix+"scheduled"),
			p.ZCard(ctx, prefix+"retry"), p.ZCard(ctx, prefix+"archived"),
		}
		ids = [...]*redis.StringSliceCmd{
			p.LRange(ctx, prefix+"pending", -lookPending, -1), p.LRange(ctx, prefix+"active", 0, lookActive-1),
			p.ZRange(ctx, prefix+"scheduled", 0, lookPending-1), p.ZRange(ctx, prefix+"retry", 0, lookDelayed-1),
		}
		return nil
	})
	if err != nil {
		return Snapshot{}, fmt.Errorf("looking at queue %s: %w", queue, err)
	}
	// The counts are exact. The apps come from a sample of the tasks.
	for i, n := range []*int{&s.Pending, &s.Active, &s.Scheduled, &s.Retry, &s.Archived} {
		*n = int(counts[i].Val())
	}
	var all []string
	for _, some := range ids {
		all = append(all, some.Val()...)
	}
	if s.Waiting, err = waiting(ctx, rdb, prefix, all, lifetime); err != nil {
		return Snapshot{}, fmt.Errorf("looking at queue %s: %w", queue, err)
	}
	return s, nil
}

// LookAll returns a snapshot of every queue.
func LookAll(ctx context.Context, rdb redis.Cmdable, lifetime time.Duration) ([]Snapshot, error) {
	var all []Snapshot
	for _, queue := range []string{QueueEvents, QueueBackfill, QueueWebhooks} {
		s, err := Look(ctx, rdb, queue, lifetime)
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

// waiting reads tasks. It skips tasks that no longer exist and tasks of other types.
func waiting(
	ctx context.Context, rdb redis.Cmdable, prefix string, ids []string, lifetime time.Duration,
) ([]Waiting, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	// One more round trip reads the messages of all sampled tasks.
	messages := make([]*redis.StringCmd, len(ids))
	_, err := rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, id := range ids {
			messages[i] = p.HGet(ctx, prefix+"t:"+id, "msg")
		}
		return nil
	})
	if err != nil && !errors.Is(err, redis.Nil) {
		return nil, err
	}
	var found []Waiting
	at := make(map[string]int) // index in found, by app
	now := time.Now()
	for _, message := range messages {
		p, err := ParseResolve(payloadOf([]byte(message.Val())))
		if err != nil || len(p.Items) == 0 {
			continue
		}
		since := p.oldest(now, lifetime)
		i, known := at[p.AppID]
		switch {
		case !known:
			at[p.AppID] = len(found)
			found = append(found, Waiting{p.AppID, since})
		case since.Before(found[i].Since):
			found[i].Since = since
		}
	}
	return found, nil
}

// oldest returns when the oldest cloudID within its lifetime was obtained. If none is, it
// returns the newest time of all.
func (p *ResolvePayload) oldest(now time.Time, lifetime time.Duration) time.Time {
	var oldest, youngest time.Time
	for _, it := range p.Items {
		obtained := it.ObtainedAt
		if obtained.IsZero() || !p.AcceptedAt.IsZero() && obtained.After(p.AcceptedAt) {
			obtained = p.AcceptedAt
		}
		if obtained.IsZero() || obtained.After(now) { // the producer sets no time, or its clock is ahead
			obtained = now
		}
		if obtained.After(youngest) {
			youngest = obtained
		}
		if now.Sub(obtained) < lifetime && (oldest.IsZero() || obtained.Before(oldest)) {
			oldest = obtained
		}
	}
	if oldest.IsZero() {
		return youngest
	}
	return oldest
}

// fieldPayload is the number of the payload's field in asynq's TaskMessage (asynq v0.26.0
// internal/proto/asynq.proto).
const fieldPayload protowire.Number = 2

// payloadOf returns the payload of a task as asynq stores it, or nil if there is none.
func payloadOf(message []byte) []byte {
	for len(message) > 0 {
		number, wire, n := protowire.ConsumeTag(message)
		if n < 0 {
			return nil
		}
		size := protowire.ConsumeFieldValue(number, wire, message[n:])
		if size < 0 {
			return nil
		}
		if number == fieldPayload && wire == protowire.BytesType {
			payload, _ := protowire.ConsumeBytes(message[n:])
			return payload
		}
		message = message[n+size:]
	}
	return nil
}
