// Package embedded is the Redis of `redis.url: embedded`: one that lives inside the process, for the demo, for tests
// and for trying out. Nothing in it survives the process.
package embedded

import (
	"context"
	"fmt"
	"time"

	"github.com/alicebob/miniredis/v2"
)

// Redis is a miniredis whose keys age.
type Redis struct{ mini *miniredis.Miniredis }

// Start opens an embedded Redis at a loopback address, host:port; port 0 takes a free one. Close it after use; run
// [Redis.Run] beside it.
func Start(listen string) (*Redis, error) {
	mini := miniredis.NewMiniRedis()
	if err := mini.StartAddr(listen); err != nil {
		return nil, fmt.Errorf("starting the embedded Redis: %w", err)
	}
	return &Redis{mini: mini}, nil
}

// Addr is where it listens.
func (r *Redis) Addr() string { return r.mini.Addr() }

// Run lets keys age until ctx ends: miniredis does not count down TTLs by itself.
func (r *Redis) Run(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			r.mini.FastForward(time.Second)
		}
	}
}

// Close stops it; everything in it is gone.
func (r *Redis) Close() { r.mini.Close() }
