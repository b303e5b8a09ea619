package store

import (
	"context"
	"fmt"
	"time"

	"github.com/go-redis/redis_rate/v10"
	"github.com/redis/go-redis/v9"
)

// Rates limits how many requests per minute all processes together make for an app: GCRA on the clock of Redis, by
// go-redis/redis_rate.
type Rates struct{ limiter *redis_rate.Limiter }

// NewRates returns the limits in rdb, which stays the caller's to close.
func NewRates(rdb redis.Cmdable) *Rates { return &Rates{limiter: redis_rate.NewLimiter(rdb)} }

// Take takes one request out of the app's minute. It returns 0 if the request may be made now, else how long to wait
// before asking again. No 60 seconds, wherever they begin, see more than perMinute requests.
func (r *Rates) Take(ctx context.Context, appID string, perMinute int) (time.Duration, error) {
	got, err := r.limiter.Allow(ctx, appPrefix(appID)+"rate", gcra(perMinute))
	if err != nil {
		return 0, fmt.Errorf("asking for a request of the minute: %w", err)
	}
	if got.Allowed > 0 {
		return 0, nil
	}
	return got.RetryAfter, nil
}

// gcra divides the minute's requests into a burst of a tenth and a steady flow of the rest: GCRA lets a burst pass on
// top of what flows in.
func gcra(perMinute int) redis_rate.Limit {
	burst := max(1, perMinute/10)
	return redis_rate.Limit{Rate: max(1, perMinute-burst), Burst: burst, Period: time.Minute}
}
