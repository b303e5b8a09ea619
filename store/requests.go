package store

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	requestKnown = 24 * time.Hour   // how long a key that had its effect is remembered
	requestClaim = 30 * time.Second // how long one that has not is taken, should its process die
)

// Requests remembers which requests have had their effect, by the key that the client gave them. Nothing of a request is
// kept but a fingerprint.
type Requests struct{ rdb redis.Cmdable }

// NewRequests returns the requests in rdb, which stays the caller's to close.
func NewRequests(rdb redis.Cmdable) *Requests { return &Requests{rdb: rdb} }

// RequestState is what is known of a key.
type RequestState struct {
	Claimed     bool       // by this very call
	Fingerprint string     // of the request that has the key
	Accepted    time.Time  // when that had its effect; zero = it is under way
	Before      FormerEnds // of its cloudIDs, ahead of that
}

// requestKey is a string: "fingerprint 0", or "fingerprint", the Unix milliseconds of the effect, and the ends before it
// if there were any.
func requestKey(key string) string { return "cloudidq:request:" + key }

// Claim takes a key for the request with this fingerprint, or says who has it.
func (r *Requests) Claim(ctx context.Context, key, fingerprint string) (RequestState, error) {
	mine := RequestState{Claimed: true, Fingerprint: fingerprint}
	for range 2 { // the value may end between the two commands
		taken, err := r.rdb.SetNX(ctx, requestKey(key), fingerprint+" 0", requestClaim).Result()
		if err != nil {
			return RequestState{}, fmt.Errorf("claiming a request: %w", err)
		}
		if taken {
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
	return RequestState{Fingerprint: fingerprint}, nil
}

func parseRequest(value string) RequestState {
	fingerprint, effect, _ := strings.Cut(value, " ")
	at, ends, _ := strings.Cut(effect, " ")
	state := RequestState{Fingerprint: fingerprint}
	if ms, err := strconv.ParseInt(at, 10, 64); err == nil && ms > 0 {
		state.Accepted, state.Before = time.UnixMilli(ms), parseEnds(ends)
	}
	return state
}

// Finish notes that the request has had its effect, and which ends its cloudIDs had had before.
func (r *Requests) Finish(ctx context.Context, key, fingerprint string, accepted time.Time, before FormerEnds) error {
	value := fingerprint + " " + strconv.FormatInt(accepted.UnixMilli(), 10)
	if ends := before.String(); ends != "" {
		value += " " + ends
	}
	if err := r.rdb.Set(ctx, requestKey(key), value, requestKnown).Err(); err != nil {
		return fmt.Errorf("finishing a request: %w", err)
	}
	return nil
}

// releaseScript deletes a claim that is still the caller's.
var releaseScript = redis.NewScript(`
if redis.call("GET", KEYS[1]) == ARGV[1] then
	return redis.call("DEL", KEYS[1])
end
return 0`)

// Release gives a key back whose request has had no effect.
func (r *Requests) Release(ctx context.Context, key, fingerprint string) error {
	if err := releaseScript.Run(ctx, r.rdb, []string{requestKey(key)}, fingerprint+" 0").Err(); err != nil {
		return fmt.Errorf("releasing a request: %w", err)
	}
	return nil
}
