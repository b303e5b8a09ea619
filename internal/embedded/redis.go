// Package embedded is the Redis of `redis.url: embedded`. It runs inside the process, for the
// demo, for tests and for evaluation. Its data is lost when the process exits.
package embedded

import (
	"context"
	"fmt"
	"time"

	"github.com/alicebob/miniredis/v2"
)

// Redis is a miniredis whose keys expire.
type Redis struct{ mini *miniredis.Miniredis }

// Start starts an embedded Redis on a loopback address (host:port; port 0 picks a free port).
// The caller runs [Redis.Run] in a goroutine, and calls [Redis.Close] at the end.
func Start(listen string) (*Redis, error) {
	mini := miniredis.NewMiniRedis()
	if err := mini.StartAddr(listen); err != nil {
		return nil, fmt.Errorf("starting the embedded Redis: %w", err)
	}
	return &Redis{mini: mini}, nil
}

// Addr returns the address that the server listens on.
func (r *Redis) Addr() string { return r.mini.Addr() }

// Run lets keys expire until ctx is done. miniredis does not count down TTLs by itself.
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

// Close stops the server. All data is lost.
func (r *Redis) Close() { r.mini.Close() }
