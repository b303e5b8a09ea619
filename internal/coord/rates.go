package coord

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/go-redis/redis_rate/v10"
	"github.com/redis/go-redis/v9"
)

// Rates limits how many requests per minute all processes together make for an app. It uses
// go-redis/redis_rate: the GCRA algorithm on the clock of Redis.
type Rates struct{ limiter *redis_rate.Limiter }

// NewRates returns the limits in rdb. The caller closes rdb.
func NewRates(rdb redis.Cmdable) *Rates { return &Rates{limiter: redis_rate.NewLimiter(rdb)} }

// Take takes one request from the app's limit. It returns 0 if the caller may send the request
// now, else how long to wait before the next call of Take. No window of 60 seconds, wherever it
// begins, has more than perMinute requests.
func (r *Rates) Take(ctx context.Context, appID string, perMinute int) (time.Duration, error) {
	got, err := r.limiter.Allow(ctx, rateKey(appID), gcra(perMinute))
	if err != nil {
		return 0, fmt.Errorf("applying the rate limit of an app: %w", err)
	}
	if got.Allowed > 0 {
		return 0, nil
	}
	return got.RetryAfter, nil
}

// rateKey returns the Redis key of an app's limit. It has the hash tag of the app's records.
func rateKey(appID string) string {
	sum := sha256.Sum256([]byte(appID))
	return "cloudidq:{" + hex.EncodeToString(sum[:4]) + "}:rate"
}

// gcra splits the limit into a burst of a tenth and a steady rate of the rest. The split is
// needed because GCRA allows a burst in addition to the steady rate.
func gcra(perMinute int) redis_rate.Limit {
	burst := max(1, perMinute/10)
	return redis_rate.Limit{Rate: max(1, perMinute-burst), Burst: burst, Period: time.Minute}
}
