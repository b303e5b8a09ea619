package status

import (
	"context"
	"sync"
	"time"

	"cloudidq/store"
	"cloudidq/tasks"
)

// Sources are what a Collector asks. They stay the caller's to close.
type Sources struct {
	Activity interface {
		Read(ctx context.Context, now time.Time) (store.RecentActivity, error)
	}
	Pauses interface {
		List(ctx context.Context) ([]store.Pause, error)
	}
	Deliveries interface {
		Endpoint(ctx context.Context, name string) (store.EndpointState, error)
		Backlogs(ctx context.Context, limit int) (backlogs []store.Backlog, more bool, err error)
	}
	// Queues takes a snapshot of each queue.
	Queues func(ctx context.Context) ([]tasks.Snapshot, error)
	// Backfills lists those under way, and those that ended lately; nil = there are none.
	Backfills func(ctx context.Context) ([]BackfillStatus, error)
	// Explain says what an errcode of WeChat means and what is to be done about it.
	Explain func(errcode int) (text, remedy string)
}

// Config are the settings of a Collector.
type Config struct {
	Apps     []string      // of the configuration: they are shown when they have nothing to do, too
	Webhooks []Webhook     // of the configuration
	Lifetime time.Duration // of a cloudID
}

// Webhook is an endpoint of the configuration.
type Webhook struct {
	Name string
	Apps []string // those whose results go there unless a task says otherwise
}

const (
	// freshFor is how long an answer is as good as a new one.
	freshFor = time.Second
	// askFor bounds the asking.
	askFor = 3 * time.Second
	// deliveriesMax is how many deliveries are looked at.
	deliveriesMax = 500
)

// Collector asks the sources. It is safe for concurrent use and owns no goroutine.
type Collector struct {
	cfg     Config
	sources Sources

	mu   sync.Mutex // held while somebody asks: the others take the answer
	seen *seen      // guarded by mu
}

// seen is what the sources have said. Nobody changes it.
type seen struct {
	at        time.Time
	window    store.RecentActivity
	queues    []tasks.Snapshot
	pauses    []store.Pause
	endpoints map[string]store.EndpointState
	backlogs  []store.Backlog
	more      bool
	backfills []BackfillStatus
}

// New returns a collector.
func New(cfg Config, sources Sources) *Collector { return &Collector{cfg: cfg, sources: sources} }

// look returns what the sources say, not older than freshFor.
func (c *Collector) look(ctx context.Context) (*seen, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seen != nil && time.Since(c.seen.at) < freshFor {
		return c.seen, nil
	}
	ctx, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	s, err := c.ask(ctx)
	if err != nil {
		return nil, err
	}
	c.seen = s
	return s, nil
}

func (c *Collector) ask(ctx context.Context) (*seen, error) {
	s := &seen{at: time.Now(), endpoints: make(map[string]store.EndpointState, len(c.cfg.Webhooks))}
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
	if s.backlogs, s.more, err = c.sources.Deliveries.Backlogs(ctx, deliveriesMax); err != nil {
		return nil, err
	}
	if c.sources.Backfills != nil {
		if s.backfills, err = c.sources.Backfills(ctx); err != nil {
			return nil, err
		}
	}
	return s, nil
}
