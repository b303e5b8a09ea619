package status

import (
	"context"
	"sync"
	"time"

	"cloudidq/internal/activity"
	"cloudidq/internal/coord"
	"cloudidq/internal/queue"
	"cloudidq/store"
)

// Sources holds what a [Collector] reads. The caller closes them.
type Sources struct {
	Activity interface {
		Read(ctx context.Context, now time.Time) (activity.Recent, error)
	}
	Pauses interface {
		List(ctx context.Context) ([]coord.Pause, error)
	}
	Deliveries interface {
		Endpoint(ctx context.Context, name string) (store.EndpointState, error)
		Backlogs(ctx context.Context, limit int) (backlogs []store.Backlog, more bool, err error)
	}
	// Queues takes a snapshot of each queue.
	Queues func(ctx context.Context) ([]queue.Snapshot, error)
	// Backfills lists the backfills in progress and those that finished recently; nil = none.
	Backfills func(ctx context.Context) ([]BackfillStatus, error)
	// Explain returns the meaning of a WeChat errcode and what an operator can do about it.
	Explain func(errcode int) (text, remedy string)
}

// Config holds the settings of a [Collector].
type Config struct {
	Apps     []string      // configured apps; shown even if they have no activity
	Webhooks []Webhook     // configured endpoints
	Lifetime time.Duration // lifetime of a cloudID
}

// Webhook is a configured endpoint.
type Webhook struct {
	Name string
	Apps []string // apps whose results go there, unless a task names another endpoint
}

const (
	// maxAge is how long a Collector reuses a snapshot.
	maxAge = time.Second
	// readTimeout bounds the time to read all sources.
	readTimeout = 3 * time.Second
	// maxDeliveries is the maximum number of deliveries that are counted.
	maxDeliveries = 500
)

// Collector reads the sources. It is safe for concurrent use and starts no goroutine.
type Collector struct {
	cfg     Config
	sources Sources

	mu   sync.Mutex // held during a read, so that concurrent callers share one result
	last *snapshot  // guarded by mu
}

// snapshot is the result of one read of the sources. It is immutable.
type snapshot struct {
	at        time.Time
	window    activity.Recent
	queues    []queue.Snapshot
	pauses    []coord.Pause
	endpoints map[string]store.EndpointState
	backlogs  []store.Backlog
	more      bool
	backfills []BackfillStatus
}

// New returns a [Collector].
func New(cfg Config, sources Sources) *Collector { return &Collector{cfg: cfg, sources: sources} }

// snapshot returns what the sources report. The result is at most maxAge old.
func (c *Collector) snapshot(ctx context.Context) (*snapshot, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last != nil && time.Since(c.last.at) < maxAge {
		return c.last, nil
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	s, err := c.read(ctx)
	if err != nil {
		return nil, err
	}
	c.last = s
	return s, nil
}

// read reads all sources. It fails if one of them fails.
func (c *Collector) read(ctx context.Context) (*snapshot, error) {
	s := &snapshot{at: time.Now(), endpoints: make(map[string]store.EndpointState,
		len(c.cfg.Webhooks))}
	var err error
	if s.window, err = c.sources.Activity.Read(ctx, s.at); err != nil {
		return nil, err
	}
	if s.queues, err = c.sources.Queues(ctx); err != nil {
		return nil, err
	}
	if s.pauses, err = c.sources.Pauses.List(ctx); err != nil {
		return nil, err
	}
	for _, hook := range c.cfg.Webhooks {
		if s.endpoints[hook.Name], err = c.sources.Deliveries.Endpoint(ctx, hook.Name); err != nil {
			return nil, err
		}
	}
	if s.backlogs, s.more, err = c.sources.Deliveries.Backlogs(ctx, maxDeliveries); err != nil {
		return nil, err
	}
	if c.sources.Backfills != nil {
		if s.backfills, err = c.sources.Backfills(ctx); err != nil {
			return nil, err
		}
	}
	return s, nil
}
