package store

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	clockEvery = 30 * time.Second
	clockFor   = 2 * time.Second // to ask
	// clockNear is what clocks that are kept in step may differ by: it is taken for none.
	clockNear = time.Second
)

// Clock knows how far Redis's clock is ahead of this machine's, so that moments which other machines have written are judged
// by the clock that all share. A nil one knows of no difference.
type Clock struct {
	rdb   redis.Cmdable
	ahead atomic.Int64
}

// NewClock returns a clock that has not been measured yet: see Measure and Run. rdb stays the caller's to close.
func NewClock(rdb redis.Cmdable) *Clock { return &Clock{rdb: rdb} }

// Ahead is how far Redis's clock is ahead of this machine's, as of the last measurement; 0 if it is within a second.
func (c *Clock) Ahead() time.Duration {
	if c == nil {
		return 0
	}
	return time.Duration(c.ahead.Load())
}

// Measure asks Redis for its clock. While Redis does not answer, what was measured last holds.
func (c *Clock) Measure(ctx context.Context) error {
	if c == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, clockFor)
	defer cancel()
	ahead, err := skew(time.Now, func() (time.Time, error) { return c.rdb.Time(ctx).Result() })
	if err != nil {
		return fmt.Errorf("asking Redis for its clock: %w", err)
	}
	if ahead.Abs() < clockNear {
		ahead = 0
	}
	c.ahead.Store(int64(ahead))
	return nil
}

// Run measures every 30 seconds until ctx ends.
func (c *Clock) Run(ctx context.Context) {
	tick := time.NewTicker(clockEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			_ = c.Measure(ctx) // what was measured last holds
		}
	}
}
