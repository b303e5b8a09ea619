package main

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"cloudidq/internal/backfill"
	"cloudidq/store"
	"cloudidq/tasks"
)

// queueLoad measures the queues.
type queueLoad struct {
	rdb    redis.UniversalClient
	pauses *store.Pauses
	most   int // tasks that may wait
	log    *slog.Logger

	mu   sync.Mutex
	seen map[string]backlog // by queue; guarded by mu
}

type backlog struct {
	at   time.Time
	high bool
}

// loadEvery is how long an answer of High serves.
const loadEvery = time.Second

func newQueueLoad(rdb redis.UniversalClient, most int, log *slog.Logger) *queueLoad {
	return &queueLoad{rdb: rdb, pauses: store.NewPauses(rdb), most: most, log: log, seen: make(map[string]backlog)}
}

// High implements [httpapi.Load]. Each queue is measured at most once a second. While Redis does not answer nothing is
// high: the request itself will find out.
func (l *queueLoad) High(ctx context.Context, queue string) bool {
	l.mu.Lock()
	last := l.seen[queue]
	if time.Since(last.at) < loadEvery {
		l.mu.Unlock()
		return last.high
	}
	l.seen[queue] = backlog{time.Now(), last.high} // one caller measures, the others take what was
	l.mu.Unlock()
	return l.measure(ctx, queue)
}

// Room implements [httpapi.Load]. It measures each time: in a second a backfill may bring in more tasks than may wait.
func (l *queueLoad) Room(ctx context.Context, appID string) error {
	pause, _, err := l.pauses.Get(ctx, appID)
	switch {
	case err == nil && pause.Until.After(time.Now()):
		return backfill.ErrPaused
	case l.measure(ctx, tasks.QueueBackfill):
		return backfill.ErrFull
	}
	return nil
}

func (l *queueLoad) measure(ctx context.Context, queue string) bool {
	n, err := tasks.Backlog(ctx, l.rdb, queue)
	high := err == nil && n >= l.most
	l.mu.Lock()
	defer l.mu.Unlock()
	if high && !l.seen[queue].high {
		l.log.Warn("a queue is full; requests are refused, backfills wait", "queue", queue, "tasks", n)
	}
	l.seen[queue] = backlog{time.Now(), high}
	return high
}
