package wechat

import (
	"context"
	"time"

	"cloudidq/internal/secret"
)

// TokenCache shares tokens between processes; store.Tokens is one. It sees sealed values only.
type TokenCache interface {
	// Load returns what is cached under key, or nil.
	Load(ctx context.Context, key string) ([]byte, error)
	// Swap puts value under key for ttl, 0 = for good, if what is there still is old (nil = nothing), and reports whether
	// it did.
	Swap(ctx context.Context, key string, old, value []byte, ttl time.Duration) (bool, error)
	// Lock makes the caller the only process that fetches the token of key, until unlock or ttl; ok is false if another
	// process is.
	Lock(ctx context.Context, key string, ttl time.Duration) (unlock func(), ok bool, err error)
}

const (
	// fetchLock outlives every fetch, so that a lock that lapses belongs to a process that is gone.
	fetchLock = fetchTimeout + 5*time.Second
	// fetchPoll is how often a process that waits for another one's fetch looks for its token.
	fetchPoll = 50 * time.Millisecond
)

// sharedTokens is the part of a token source that is the same in all processes: one of them fetches, the others take
// what it has put into the cache.
type sharedTokens struct{ value sealedValue }

// newSharedTokens returns nil, which shares nothing, for a nil cache. The key names mode and app; the secret is one that
// a fetch needs.
func newSharedTokens(cache TokenCache, key string, from secret.Text) *sharedTokens {
	if cache == nil {
		return nil
	}
	return &sharedTokens{value: newSealedValue(cache, key, from)}
}

// obtain returns a token of another process if there is a good one that is not the refused one, and else lets one
// process fetch. Without the cache's server each process is on its own: a repeated fetch is better than no token.
func (s *sharedTokens) obtain(ctx context.Context, refused secret.Text, fetch func(context.Context) (grant, *Error)) (grant, *Error) {
	for {
		_, there, err := s.load(ctx)
		if err != nil {
			return fetch(ctx)
		}
		if there.good(refused, time.Now()) {
			return there.grant(time.Now()), nil
		}
		unlock, ok, err := s.value.cache.Lock(ctx, s.value.key, fetchLock)
		switch {
		case err != nil:
			return fetch(ctx)
		case ok:
			defer unlock()
			return s.refresh(ctx, refused, fetch)
		}
		select {
		case <-time.After(fetchPoll):
		case <-ctx.Done():
			return grant{}, transient(textTokens + "another process has been fetching for too long")
		}
	}
}

// refresh fetches under the lock, unless another process was faster, and puts the token into the cache.
func (s *sharedTokens) refresh(ctx context.Context, refused secret.Text, fetch func(context.Context) (grant, *Error)) (grant, *Error) {
	old, there, err := s.load(ctx)
	if err == nil && there.good(refused, time.Now()) {
		return there.grant(time.Now()), nil
	}
	got, failure := fetch(ctx)
	if failure != nil || got.token.Empty() {
		return got, failure
	}
	s.put(ctx, old, got)
	return got, nil
}

// cached is a token as it lies in the cache, before it is sealed.
type cached struct {
	Token   string    `json:"token"`
	Fetched time.Time `json:"fetched"`
	Expires time.Time `json:"expires"`
}

// good reports whether a process may use the token instead of fetching. A refused one it uses again if it was fetched
// just now: then the refusal is WeChat's error, and a fetch would bring the same one.
func (c cached) good(refused secret.Text, now time.Time) bool {
	if c.Token == "" || c.Expires.Sub(now) <= min(refreshAhead, c.Expires.Sub(c.Fetched)/2) {
		return false
	}
	return !refused.Equal(secret.New(c.Token)) || now.Sub(c.Fetched) < minInterval
}

func (c cached) grant(now time.Time) grant {
	return grant{token: secret.New(c.Token), life: c.Expires.Sub(now)}
}

// load returns what is cached, sealed and opened.
func (s *sharedTokens) load(ctx context.Context) (sealed []byte, opened cached, err error) {
	sealed, err = s.value.load(ctx, &opened)
	return sealed, opened, err
}

// put caches a token that was fetched just now, if what is there still is old. If that fails the token serves this
// process, and the next one fetches its own.
func (s *sharedTokens) put(ctx context.Context, old []byte, got grant) {
	life := min(max(got.life, minLife), maxLife)
	now := time.Now()
	_, _ = s.value.swap(ctx, old, cached{Token: got.token.Reveal(), Fetched: now, Expires: now.Add(life)}, life)
}
