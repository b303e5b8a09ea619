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

	"cloudidq/internal/coord"
	"cloudidq/store"
)

// claims is the part of [coord.Requests] that the API uses.
type claims interface {
	// Claim claims a key for a request. If another request has the key, Claim returns the state
	// of that request.
	Claim(ctx context.Context, key, fingerprint string) (coord.RequestState, error)
	// Finish records that the request was carried out, and the earlier results of its cloudIDs.
	Finish(ctx context.Context, key, fingerprint string, accepted time.Time, before store.EarlierFinals) error
	// Release frees the key, because the request had no effect.
	Release(ctx context.Context, key, fingerprint string) error
}

// idempotency carries out a request with an Idempotency-Key at most once
// (https://datatracker.ietf.org/doc/html/draft-ietf-httpapi-idempotency-key-header-07). The
// records of the cloudIDs are a second protection: a resolved cloudID is never sent to WeChat
// again.
type idempotency struct{ claims claims }

// outcome is the stored outcome of a request that was carried out.
type outcome struct {
	accepted time.Time
	before   store.EarlierFinals
}

var idempotencyKey = regexp.MustCompile(`^[!-~]{1,256}$`)

// do calls act, unless a request with the same key was carried out before. It reports such a
// repetition in replayed. The caller builds the response to a repetition again, so only the
// outcome has to be stored.
func (o *idempotency) do(
	ctx context.Context, header string, body []byte, act func(context.Context) (outcome, error),
) (result outcome, replayed bool, err error) {
	key, err := idempotencyKeyOf(header)
	if err != nil {
		return outcome{}, false, err
	}
	if key == "" || o == nil {
		result, err = act(ctx)
		return result, false, err
	}
	key, fingerprint := digest(caller(ctx).Name, key), digest(string(body))
	state, err := o.claims.Claim(ctx, key, fingerprint)
	switch {
	case err != nil:
		return outcome{}, false, storeUnavailable()
	case state.Fingerprint != fingerprint:
		return outcome{}, false, newProblem(http.StatusUnprocessableEntity, "nothing was enqueued",
			fault{"header.Idempotency-Key", "was used for a different request before"})
	case !state.Accepted.IsZero():
		return outcome{state.Accepted, state.Before}, true, nil
	case !state.Claimed:
		return outcome{}, false, newProblem(http.StatusConflict,
			"a request with this Idempotency-Key is in progress; retry later").retryAfter("1")
	}
	// The client may disconnect before Redis answers. It then repeats the request, and must get
	// the outcome of this one.
	ctx = context.WithoutCancel(ctx)
	result, err = act(ctx)
	if err != nil {
		return result, false, errors.Join(err, o.claims.Release(ctx, key, fingerprint))
	}
	if err := o.claims.Finish(ctx, key, fingerprint, result.accepted, result.before); err != nil {
		return result, false, nil //nolint:nilerr // Redis has the task; the claim expires by itself
	}
	return result, false, nil
}

// idempotencyKeyOf returns the key in an Idempotency-Key header. It returns "" if there is none.
func idempotencyKeyOf(header string) (string, error) {
	key := strings.Trim(header, `"`) // the draft requires quotes, but few clients send them
	if header != "" && !idempotencyKey.MatchString(key) {
		return "", newProblem(http.StatusBadRequest, "nothing was enqueued",
			fault{"header.Idempotency-Key",
				"must be 1 to 256 printable ASCII characters without whitespace"})
	}
	return key, nil
}

// digest returns a hash that identifies a key or a body without revealing it.
func digest(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:16])
}
