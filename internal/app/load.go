package app

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"cloudidq/internal/backfill"
	"cloudidq/internal/coord"
	"cloudidq/internal/queue"
	"cloudidq/tasks"
)

// QueueLoad measures how full the queues are. It implements [httpapi.Load].
type QueueLoad struct {
	rdb    redis.UniversalClient
	pauses *coord.Pauses
	most   int // maximum number of waiting tasks
	log    *slog.Logger

	mu   sync.Mutex
	seen map[string]backlog // by queue; guarded by mu
}

// backlog is the result of the last measurement of a queue.
type backlog struct {
	at   time.Time
	high bool
}

// measureInterval is how long High reuses a measurement.
const measureInterval = time.Second

// NewQueueLoad returns a load that calls a queue full from most waiting tasks on. The caller
// closes rdb.
func NewQueueLoad(rdb redis.UniversalClient, most int, log *slog.Logger) *QueueLoad {
	return &QueueLoad{
		rdb: rdb, pauses: coord.NewPauses(rdb), most: most, log: log, seen: make(map[string]backlog),
	}
}

// High implements [httpapi.Load]. It measures each queue at most once a second. If Redis does
// not answer, it returns false, and the request itself will fail.
func (l *QueueLoad) High(ctx context.Context, queue string) bool {
	l.mu.Lock()
	last := l.seen[queue]
	if time.Since(last.at) < measureInterval {
		l.mu.Unlock()
		return last.high
	}
	// This caller measures. Concurrent callers use the last result meanwhile.
	l.seen[queue] = backlog{time.Now(), last.high}
	l.mu.Unlock()
	return l.measure(ctx, queue)
}

// Room implements [httpapi.Load]. It measures at every call, because within a second a backfill
// may enqueue more tasks than the limit.
func (l *QueueLoad) Room(ctx context.Context, appID string) error {
	pause, _, err := l.pauses.Get(ctx, appID)
	switch {
	case err == nil && pause.Until.After(time.Now()):
		return backfill.ErrPaused
	case l.measure(ctx, tasks.QueueBackfill):
		return backfill.ErrFull
	}
	return nil
}

// measure measures a queue and logs a warning when the queue becomes full.
func (l *QueueLoad) measure(ctx context.Context, name string) bool {
	n, err := queue.Backlog(ctx, l.rdb, name)
	high := err == nil && n >= l.most
	l.mu.Lock()
	defer l.mu.Unlock()
	if high && !l.seen[name].high {
		l.log.Warn("queue is full; requests are rejected and backfills wait", "queue", name, "tasks", n)
	}
	l.seen[name] = backlog{time.Now(), high}
	return high
}
