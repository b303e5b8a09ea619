package coord

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

// Leases ensure that only one of all processes does work that is needed once, such as querying
// WeChat for quotas.
type Leases struct{ rdb redis.Cmdable }

// NewLeases returns the leases in rdb. The caller closes rdb.
func NewLeases(rdb redis.Cmdable) *Leases { return &Leases{rdb: rdb} }

// leaseKey returns the Redis key of a lease.
func leaseKey(name string) string { return "cloudidq:lease:" + name }

// Hold acquires the lease of a name for ttl, or extends it if holder already has it. It reports
// whether holder has the lease now.
func (l *Leases) Hold(ctx context.Context, name, holder string, ttl time.Duration) (bool, error) {
	acquired, err := leaseScript.Run(ctx, l.rdb, []string{leaseKey(name)}, holder,
		max(1, ttl.Milliseconds())).Bool()
	if err != nil {
		return false, fmt.Errorf("acquiring a lease: %w", err)
	}
	return acquired, nil
}

// Release releases the lease if holder has it. Otherwise it does nothing.
func (l *Leases) Release(ctx context.Context, name, holder string) error {
	if err := deleteIfEqual.Run(ctx, l.rdb, []string{leaseKey(name)}, holder).Err(); err != nil {
		return fmt.Errorf("releasing a lease: %w", err)
	}
	return nil
}
