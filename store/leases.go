package store

import (
	"context"
	_ "embed" // the script
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

//go:embed lease.lua
var leaseLua string

var leaseScript = redis.NewScript(leaseLua)

// Leases let one process of all do what need be done once only, such as asking WeChat for quotas.
type Leases struct{ rdb redis.Cmdable }

// NewLeases returns the leases in rdb, which stays the caller's to close.
func NewLeases(rdb redis.Cmdable) *Leases { return &Leases{rdb: rdb} }

// leaseKey is where a lease lies.
func leaseKey(name string) string { return "cloudidq:lease:" + name }

// Hold takes the lease of a name for ttl, or prolongs it for the one who has it, and reports whether holder has it now.
func (l *Leases) Hold(ctx context.Context, name, holder string, ttl time.Duration) (bool, error) {
	held, err := leaseScript.Run(ctx, l.rdb, []string{leaseKey(name)}, holder, max(1, ttl.Milliseconds())).Bool()
	if err != nil {
		return false, fmt.Errorf("holding a lease: %w", err)
	}
	return held, nil
}

// Release gives a lease back that holder has.
func (l *Leases) Release(ctx context.Context, name, holder string) error {
	if err := tokenUnlock.Run(ctx, l.rdb, []string{leaseKey(name)}, holder).Err(); err != nil {
		return fmt.Errorf("releasing a lease: %w", err)
	}
	return nil
}
