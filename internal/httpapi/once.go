package httpapi

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"regexp"
	"strings"
	"time"

	"cloudidq/store"
)

// claims is the part of [store.Requests] that the API uses.
type claims interface {
	// Claim takes a key for a request, or says what is known of the one that has it.
	Claim(ctx context.Context, key, fingerprint string) (store.RequestState, error)
	// Finish notes that the request has had its effect, and which ends its cloudIDs had had before.
	Finish(ctx context.Context, key, fingerprint string, accepted time.Time, before store.FormerEnds) error
	// Release gives the key back, because the request has had no effect.
	Release(ctx context.Context, key, fingerprint string) error
}

// once lets a request that is repeated under one Idempotency-Key have its effect once
// (https://datatracker.ietf.org/doc/html/draft-ietf-httpapi-idempotency-key-header-07). The record of a cloudID is the
// second line: one that was resolved is not asked for again in any case.
type once struct{ claims claims }

// effect is what is kept of a request that was carried out.
type effect struct {
	accepted time.Time
	before   store.FormerEnds
}

var idempotencyKey = regexp.MustCompile(`^[!-~]{1,256}$`)

// do calls act unless a request of this key has had its effect. The answer to a repetition is made anew, so that nothing
// else of the request needs to be kept.
func (o *once) do(
	ctx context.Context, header string, body []byte, act func(context.Context) (effect, error),
) (done effect, repeated bool, err error) {
	key, err := idempotencyKeyOf(header)
	if err != nil {
		return effect{}, false, err
	}
	if key == "" || o == nil {
		done, err = act(ctx)
		return done, false, err
	}
	key, fingerprint := digest(caller(ctx).Name, key), digest(string(body))
	state, err := o.claims.Claim(ctx, key, fingerprint)
	switch {
	case err != nil:
		return effect{}, false, storeAway()
	case state.Fingerprint != fingerprint:
		return effect{}, false, newProblem(http.StatusUnprocessableEntity, "nothing was enqueued",
			fault{"header.Idempotency-Key", "has come with another request before"})
	case !state.Accepted.IsZero():
		return effect{state.Accepted, state.Before}, true, nil
	case !state.Claimed:
		return effect{}, false, newProblem(http.StatusConflict, "a request of this Idempotency-Key is under way").retryAfter("1")
	}
	// The client may leave before Redis answers. It will ask again, and what has become of this request must be known then.
	ctx = context.WithoutCancel(ctx)
	done, err = act(ctx)
	if err != nil {
		return done, false, errors.Join(err, o.claims.Release(ctx, key, fingerprint))
	}
	if err := o.claims.Finish(ctx, key, fingerprint, done.accepted, done.before); err != nil {
		return done, false, nil //nolint:nilerr // Redis has the task; the claim ends by itself
	}
	return done, false, nil
}

// idempotencyKeyOf reads the header; empty = there is none.
func idempotencyKeyOf(header string) (string, error) {
	key := strings.Trim(header, `"`) // the draft wants quotes, and few send them
	if header != "" && !idempotencyKey.MatchString(key) {
		return "", newProblem(http.StatusBadRequest, "nothing was enqueued",
			fault{"header.Idempotency-Key", "must be 1 to 256 printable ASCII characters without blanks"})
	}
	return key, nil
}

// digest names a key or a body without showing it.
func digest(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:16])
}
