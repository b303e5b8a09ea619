package coord

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"cloudidq/store"
)

const (
	requestRetention = 24 * time.Hour   // how long a finished request is remembered
	claimTTL         = 30 * time.Second // how long a claim lasts if its process dies
)

// Requests remembers which requests took effect, by the key that the client gave them. It
// stores nothing of a request but a fingerprint.
type Requests struct{ rdb redis.Cmdable }

// NewRequests returns the requests in rdb. The caller closes rdb.
func NewRequests(rdb redis.Cmdable) *Requests { return &Requests{rdb: rdb} }

// RequestState is what is known about a key.
type RequestState struct {
	Claimed     bool                // by this call
	Fingerprint string              // of the request that holds the key
	Accepted    time.Time           // when that request took effect; zero = still running
	Before      store.EarlierFinals // final statuses that its cloudIDs had before it
}

// requestKey returns the Redis key of a request. The value is a string. While the request runs,
// it is "fingerprint 0". Afterwards it is the fingerprint, the Unix milliseconds of the effect
// and, if there were any, the earlier final statuses ([store.EarlierFinals]), separated by spaces.
func requestKey(key string) string { return "cloudidq:request:" + key }

// Claim claims a key for the request with this fingerprint. If another request holds the key,
// Claim returns the state of that request.
func (r *Requests) Claim(ctx context.Context, key, fingerprint string) (RequestState, error) {
	mine := RequestState{Claimed: true, Fingerprint: fingerprint}
	for range 2 { // the value may expire between the two commands
		claimed, err := r.rdb.SetNX(ctx, requestKey(key), fingerprint+" 0", claimTTL).Result()
		if err != nil {
			return RequestState{}, fmt.Errorf("claiming a request: %w", err)
		}
		if claimed {
			return mine, nil
		}
		value, err := r.rdb.Get(ctx, requestKey(key)).Result()
		if err == redis.Nil { //nolint:errorlint // go-redis returns it bare
			continue
		}
		if err != nil {
			return RequestState{}, fmt.Errorf("claiming a request: %w", err)
		}
		return parseRequest(value), nil
	}
	// The claim expired twice in between. Report the request as running, so that the client
	// retries.
	return RequestState{Fingerprint: fingerprint}, nil
}

func parseRequest(value string) RequestState {
	fingerprint, effect, _ := strings.Cut(value, " ")
	at, statuses, _ := strings.Cut(effect, " ")
	state := RequestState{Fingerprint: fingerprint}
	if ms, err := strconv.ParseInt(at, 10, 64); err == nil && ms > 0 {
		state.Accepted, state.Before = time.UnixMilli(ms), store.ParseEarlierFinals(statuses)
	}
	return state
}

// Finish records that the request took effect, and which final statuses its cloudIDs had
// before.
func (r *Requests) Finish(ctx context.Context, key, fingerprint string, accepted time.Time, before store.EarlierFinals) error {
	value := fingerprint + " " + strconv.FormatInt(accepted.UnixMilli(), 10)
	if statuses := before.String(); statuses != "" {
		value += " " + statuses
	}
	if err := r.rdb.Set(ctx, requestKey(key), value, requestRetention).Err(); err != nil {
		return fmt.Errorf("finishing a request: %w", err)
	}
	return nil
}

// Release releases a key whose request took no effect. It leaves a finished request, and
// another request's claim, as they are.
func (r *Requests) Release(ctx context.Context, key, fingerprint string) error {
	if err := deleteIfEqual.Run(ctx, r.rdb, []string{requestKey(key)}, fingerprint+" 0").Err(); err != nil {
		return fmt.Errorf("releasing a request: %w", err)
	}
	return nil
}
