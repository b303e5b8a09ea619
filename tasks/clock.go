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
	clockAgain = time.Second // pause after a failed measurement
	// Timeout of a measurement. A longer round trip says too little about the time at its
	// middle.
	clockFor = 2 * time.Second
	// clockNear is the difference that synchronized clocks may have. A smaller difference counts
	// as zero.
	clockNear = time.Second
)

// asker is the part of a Redis client that returns the server's time.
type asker interface {
	Time(ctx context.Context) *redis.TimeCmd
}

// Clock measures how far Redis's clock is ahead of this machine's clock. Several machines write
// and compare times, so all of them use Redis's clock. A nil Clock assumes no difference.
type Clock struct {
	rdb   asker
	now   func() time.Time // this machine's clock
	ahead atomic.Int64
}

// NewClock returns a clock that has not been measured yet, see Measure and Run. The caller
// closes rdb.
func NewClock(rdb redis.Cmdable) *Clock { return &Clock{rdb: rdb, now: time.Now} }

// Ahead returns how far Redis's clock is ahead of this machine's clock, as of the last
// measurement. It is 0 if the difference is less than a second.
func (c *Clock) Ahead() time.Duration {
	if c == nil {
		return 0
	}
	return time.Duration(c.ahead.Load())
}

// Now returns the current time by Redis's clock, as of the last measurement.
func (c *Clock) Now() time.Time {
	if c == nil {
		return time.Now()
	}
	return c.now().Add(c.Ahead())
}

// Measure reads Redis's clock once. It assumes that Redis read its clock halfway through the
// round trip. If Redis does not answer, or takes more than two seconds, Measure returns an error
// and the last measurement remains valid.
func (c *Clock) Measure(ctx context.Context) error {
	if c == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, clockFor)
	defer cancel()
	sent := c.now()
	theirs, err := c.rdb.Time(ctx).Result()
	way := c.now().Sub(sent)
	if err == nil && way > clockFor {
		err = errors.New("the answer took too long")
	}
	if err != nil {
		return fmt.Errorf("reading the clock of Redis: %w", err)
	}
	ahead := theirs.Sub(sent.Add(way / 2))
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
			_ = c.Measure(ctx) // on an error the last measurement remains valid
		}
	}
}
