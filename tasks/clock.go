package tasks

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	clockEvery = 30 * time.Second
	clockAgain = time.Second     // after a measurement that has failed
	clockFor   = 2 * time.Second // to ask; a longer way says too little about the moment at its middle
	// clockNear is what clocks that are kept in step may differ by: it is taken for none.
	clockNear = time.Second
)

// asker is the part of a Redis client that says what time it is there.
type asker interface {
	Time(ctx context.Context) *redis.TimeCmd
}

// Clock knows how far Redis's clock is ahead of this machine's, so that moments which several machines write and compare are
// moments of one clock, the one that all share. A nil one knows of no difference.
type Clock struct {
	rdb   asker
	now   func() time.Time // this machine's
	ahead atomic.Int64
}

// NewClock returns a clock that has not been measured yet: see Measure and Run. rdb stays the caller's to close.
func NewClock(rdb redis.Cmdable) *Clock { return &Clock{rdb: rdb, now: time.Now} }

// Ahead is how far Redis's clock is ahead of this machine's, as of the last measurement; 0 if it is within a second.
func (c *Clock) Ahead() time.Duration {
	if c == nil {
		return 0
	}
	return time.Duration(c.ahead.Load())
}

// Now is the moment by Redis's clock, as of the last measurement.
func (c *Clock) Now() time.Time {
	if c == nil {
		return time.Now()
	}
	return c.now().Add(c.Ahead())
}

// Measure asks Redis once for its clock, and takes the answer for the moment at the middle of the way there and back. Where
// Redis does not answer, or takes more than two seconds, what was measured last holds.
func (c *Clock) Measure(ctx context.Context) error {
	if c == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, clockFor)
	defer cancel()
	asked := c.now()
	theirs, err := c.rdb.Time(ctx).Result()
	way := c.now().Sub(asked)
	if err == nil && way > clockFor {
		err = errors.New("the answer took too long")
	}
	if err != nil {
		return fmt.Errorf("asking Redis for its clock: %w", err)
	}
	ahead := theirs.Sub(asked.Add(way / 2))
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
