package queue

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"cloudidq/tasks"
)

// Snapshot is the state of a queue.
type Snapshot struct {
	Queue     string
	Pending   int // tasks that wait for a worker
	Active    int // tasks that a worker has claimed
	Scheduled int // tasks that start later
	Retry     int // tasks that are retried later
	Archived  int
	// Waiting has the oldest cloudID of each app whose tasks are in the sample.
	Waiting []Waiting
}

// Waiting is the oldest cloudID of an app in the sample.
type Waiting struct {
	AppID string
	Since time.Time // when it was obtained
}

// The sample has a bounded number of tasks. Pending tasks are ordered by age, so the sample has
// the oldest. Other tasks have another order or none, so the sample has enough of them to rarely
// miss an important one.
const (
	samplePending   = 8
	sampleActive    = 32
	sampleScheduled = 8
	sampleRetry     = 32
)

// TakeSnapshot takes a snapshot of a queue in two round trips, for a queue of any length. A
// requeued task still names all of its cloudIDs, including final ones. TakeSnapshot therefore
// ignores cloudIDs past their lifetime, unless a task holds no others. A queue that does not exist
// is empty.
//
// asynq's Inspector would read the same keys and the memory of every task (asynq v0.26.0
// internal/rdb/inspect.go).
func TakeSnapshot(
	ctx context.Context, rdb redis.Cmdable, queue string, lifetime time.Duration,
) (Snapshot, error) {
	s := Snapshot{Queue: queue}
	var counts [5]*redis.IntCmd
	var ids [4]*redis.StringSliceCmd
	_, err := rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		counts = [...]*redis.IntCmd{
			p.LLen(ctx, stateKey(queue, statePending)), p.LLen(ctx, stateKey(queue, stateActive)),
			p.ZCard(ctx, stateKey(queue, stateScheduled)), p.ZCard(ctx, stateKey(queue, stateRetry)),
			p.ZCard(ctx, stateKey(queue, stateArchived)),
		}
		ids = [...]*redis.StringSliceCmd{
			p.LRange(ctx, stateKey(queue, statePending), -samplePending, -1),
			p.LRange(ctx, stateKey(queue, stateActive), 0, sampleActive-1),
			p.ZRange(ctx, stateKey(queue, stateScheduled), 0, sampleScheduled-1),
			p.ZRange(ctx, stateKey(queue, stateRetry), 0, sampleRetry-1),
		}
		return nil
	})
	if err != nil {
		return Snapshot{}, fmt.Errorf("taking a snapshot of queue %s: %w", queue, err)
	}
	// The counts are exact. The apps come from a sample of the tasks.
	for i, n := range []*int{&s.Pending, &s.Active, &s.Scheduled, &s.Retry, &s.Archived} {
		*n = int(counts[i].Val())
	}
	var all []string
	for _, some := range ids {
		all = append(all, some.Val()...)
	}
	if s.Waiting, err = waiting(ctx, rdb, queue, all, lifetime); err != nil {
		return Snapshot{}, fmt.Errorf("taking a snapshot of queue %s: %w", queue, err)
	}
	return s, nil
}

// TakeSnapshots takes a snapshot of every queue.
func TakeSnapshots(
	ctx context.Context, rdb redis.Cmdable, lifetime time.Duration,
) ([]Snapshot, error) {
	var all []Snapshot
	for _, queue := range []string{tasks.QueueEvents, tasks.QueueBackfill, tasks.QueueWebhooks} {
		s, err := TakeSnapshot(ctx, rdb, queue, lifetime)
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

// waiting reads tasks. It skips tasks that no longer exist and tasks of other types.
func waiting(
	ctx context.Context, rdb redis.Cmdable, queue string, ids []string, lifetime time.Duration,
) ([]Waiting, error) {
	// One more round trip reads the messages of all sampled tasks.
	sample, err := readTasks(ctx, rdb, queue, ids)
	if err != nil {
		return nil, err
	}
	var found []Waiting
	at := make(map[string]int) // index in found, by app
	now := time.Now()
	for i := range sample {
		m, _ := parseMessage(sample[i].message)
		p, err := tasks.ParseResolve(m.payload)
		if err != nil || len(p.Items) == 0 {
			continue
		}
		since := oldest(&p, now, lifetime)
		known, ok := at[p.AppID]
		switch {
		case !ok:
			at[p.AppID] = len(found)
			found = append(found, Waiting{p.AppID, since})
		case since.Before(found[known].Since):
			found[known].Since = since
		}
	}
	return found, nil
}

// oldest returns when the oldest cloudID within its lifetime was obtained. If none is, it
// returns the newest time of all.
func oldest(p *tasks.ResolvePayload, now time.Time, lifetime time.Duration) time.Time {
	var oldest, youngest time.Time
	for _, it := range p.Items {
		obtained := it.ObtainedAt
		if obtained.IsZero() || !p.AcceptedAt.IsZero() && obtained.After(p.AcceptedAt) {
			obtained = p.AcceptedAt
		}
		// The producer sets no time, or its clock is ahead.
		if obtained.IsZero() || obtained.After(now) {
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
