package wechat

import (
	"context"
	"time"

	"cloudidq/internal/secret"
)

// TokenCache shares tokens between processes; store.Tokens is one. It sees sealed values only.
type TokenCache interface {
	// Load returns what is cached under key, or nil, and how much longer it will be, by the clock of the cache; 0 = without end.
	Load(ctx context.Context, key string) (value []byte, left time.Duration, err error)
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

// fetchFunc fetches a token after another one, from which it goes on counting.
type fetchFunc func(ctx context.Context, before held) (held, *Error)

// obtain returns a token of another process if there is a good one, and else lets one process fetch. Without the cache's
// server each process is on its own: a repeated fetch is better than no token.
func (s *sharedTokens) obtain(ctx context.Context, p pace, k known, fetch fetchFunc) (held, *Error) {
	for {
		_, there, err := s.load(ctx)
		if err != nil {
			return alone(ctx, p, k, fetch)
		}
		if there.good(p, k) {
			return there, nil
		}
		unlock, ok, err := s.value.cache.Lock(ctx, s.value.key, fetchLock)
		switch {
		case err != nil:
			return alone(ctx, p, k, fetch)
		case ok:
			defer unlock()
			return s.refresh(ctx, p, k, fetch)
		}
		select {
		case <-time.After(fetchPoll):
		case <-ctx.Done():
			return held{}, transient(textTokens + "another process has been fetching for too long")
		}
	}
}

// alone obtains a token without the others.
func alone(ctx context.Context, p pace, k known, fetch fetchFunc) (held, *Error) {
	if k.good(p, k) {
		return k.held, nil
	}
	return fetch(ctx, k.held)
}

// refresh fetches under the lock, unless another process was faster, and puts the token into the cache.
func (s *sharedTokens) refresh(ctx context.Context, p pace, k known, fetch fetchFunc) (held, *Error) {
	old, there, err := s.load(ctx)
	if err == nil && there.good(p, k) {
		return there, nil
	}
	if there.token.Empty() {
		there = k.held
	}
	got, failure := fetch(ctx, there)
	if failure != nil || got.token.Empty() {
		return got, failure
	}
	s.put(ctx, old, got)
	return got, nil
}

// cached is a token as it lies in the cache, before it is sealed. Its moments are those of the machine that wrote it, so
// they are compared with each other alone: what is left of the token's life is left of the value's.
type cached struct {
	Token   string    `json:"token"`
	Fetched time.Time `json:"fetched"`
	Expires time.Time `json:"expires"`
	Rows    rows      `json:"rows,omitzero"`
}

// load returns what is cached, sealed and opened.
func (s *sharedTokens) load(ctx context.Context) (sealed []byte, there held, err error) {
	var opened cached
	sealed, left, err := s.value.loadWithLife(ctx, &opened)
	life := opened.Expires.Sub(opened.Fetched)
	return sealed, held{token: secret.New(opened.Token), left: left, age: max(0, life-left), rows: opened.Rows}, err
}

// put caches a token that was fetched just now, if what is there still is old. If that fails the token serves this
// process, and the next one fetches its own.
func (s *sharedTokens) put(ctx context.Context, old []byte, got held) {
	life := min(max(got.left, minLife), maxLife)
	now := time.Now()
	_, _ = s.value.swap(ctx, old, cached{Token: got.token.Reveal(), Fetched: now, Expires: now.Add(life), Rows: got.rows}, life)
}
