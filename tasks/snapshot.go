package tasks

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
	"google.golang.org/protobuf/encoding/protowire"
)

// Snapshot is how a queue stands.
type Snapshot struct {
	Queue     string
	Pending   int // tasks that wait for a worker
	Active    int // in a worker's hands
	Scheduled int // that begin later
	Retry     int // that come back later
	Archived  int
	// Waiting are the apps whose tasks were looked at, each with its oldest cloudID.
	Waiting []Waiting
}

// Waiting is the oldest cloudID of an app that was seen to wait.
type Waiting struct {
	AppID string
	Since time.Time // when it was obtained
}

// How many tasks Look looks at: of those that wait, whose order is that of their age, the oldest; of the others, which have
// another order or none, so many that what matters is hardly missed. It never walks a queue.
const (
	lookPending = 8
	lookActive  = 32
	lookDelayed = 32
)

// Look takes a snapshot of a queue in two round trips, whatever its length. cloudIDs past their lifetime count as ended,
// unless a task holds no others: a task that comes back for some still names them all.
//
// It reads asynq's own keys, which its Inspector would read along with the memory of every task (asynq v0.26.0
// internal/rdb/inspect.go); a test holds the layout against the version in go.mod. A queue that is not there is empty.
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

// LookAll is Look for every queue.
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

// waiting reads tasks. One that is gone meanwhile is left out, and so is one that is none of ours.
func waiting(
	ctx context.Context, rdb redis.Cmdable, prefix string, ids []string, lifetime time.Duration,
) ([]Waiting, error) {
	if len(ids) == 0 {
		return nil, nil
	}
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
	at := make(map[string]int) // in found, by app
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

// oldest is when the oldest cloudID was obtained that is within its lifetime, or the youngest if none is.
func (p *ResolvePayload) oldest(now time.Time, lifetime time.Duration) time.Time {
	var oldest, youngest time.Time
	for _, it := range p.Items {
		obtained := it.ObtainedAt
		if obtained.IsZero() || !p.AcceptedAt.IsZero() && obtained.After(p.AcceptedAt) {
			obtained = p.AcceptedAt
		}
		if obtained.IsZero() || obtained.After(now) { // a producer that says nothing of time, or whose clock is ahead
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

// fieldPayload is the payload's field in asynq's TaskMessage (asynq v0.26.0 internal/proto/asynq.proto).
const fieldPayload protowire.Number = 2

// payloadOf is the payload of a task as asynq stores it; nil if there is none.
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
