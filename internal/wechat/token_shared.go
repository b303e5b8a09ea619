package wechat

import (
	"context"
	"time"

	"cloudidq/internal/secret"
)

// TokenCache shares tokens between processes; coord.Tokens implements it. It sees only sealed
// values.
type TokenCache interface {
	// Load returns the value under key, or nil, and its remaining time in the cache by the
	// cache's clock; 0 means without expiry.
	Load(ctx context.Context, key string) (value []byte, left time.Duration, err error)
	// Swap stores value under key for ttl if the cache still holds old (nil means no value), and
	// reports whether it did. ttl 0 means no expiry.
	Swap(ctx context.Context, key string, old, value []byte, ttl time.Duration) (bool, error)
	// Lock makes the caller the only process that fetches the token of key, until it calls
	// unlock or ttl passes. If another process holds the lock, ok is false.
	Lock(ctx context.Context, key string, ttl time.Duration) (unlock func(), ok bool, err error)
}

const (
	// fetchLock is longer than every fetch, so a lock expires only if its process has died.
	fetchLock = fetchTimeout + 5*time.Second
	// fetchPoll is the interval at which a process checks for a token that another process is
	// fetching.
	fetchPoll = 50 * time.Millisecond
)

// sharedTokens is the part of a token source that all processes share: one process fetches, and
// the others take the token from the cache.
type sharedTokens struct{ value sealedValue }

// newSharedTokens returns the shared token at key, or nil if cache is nil. key names mode and
// app. The secret is one that a fetch requires.
func newSharedTokens(cache TokenCache, key string, from secret.Text) *sharedTokens {
	if cache == nil {
		return nil
	}
	return &sharedTokens{value: newSealedValue(cache, key, from)}
}

// fetchFunc fetches a token. It continues the count of fetches in a row of before.
type fetchFunc func(ctx context.Context, before fetchedToken) (fetchedToken, *Error)

// obtain returns the token of another process if it is good; otherwise one process fetches. If
// the cache fails, each process fetches for itself: a duplicate fetch is better than no token.
func (s *sharedTokens) obtain(
	ctx context.Context, p pace, local localState, fetch fetchFunc,
) (fetchedToken, *Error) {
	for {
		_, shared, err := s.load(ctx)
		if err != nil {
			return obtainUnshared(ctx, p, local, fetch)
		}
		if shared.good(p, local) {
			return shared, nil
		}
		// Only the process with the lock fetches. The others poll the cache.
		unlock, ok, err := s.value.cache.Lock(ctx, s.value.key, fetchLock)
		switch {
		case err != nil:
			return obtainUnshared(ctx, p, local, fetch)
		case ok:
			defer unlock()
			return s.fetchWithLock(ctx, p, local, fetch)
		}
		select {
		case <-time.After(fetchPoll):
		case <-ctx.Done():
			return fetchedToken{}, transient(textTokens + "another process has been fetching for too long")
		}
	}
}

// obtainUnshared obtains a token without the cache.
func obtainUnshared(
	ctx context.Context, p pace, local localState, fetch fetchFunc,
) (fetchedToken, *Error) {
	if local.good(p, local) {
		return local.fetchedToken, nil
	}
	return fetch(ctx, local.fetchedToken)
}

// fetchWithLock fetches while it holds the lock, and caches the token. If another process was
// faster, it returns that token.
func (s *sharedTokens) fetchWithLock(
	ctx context.Context, p pace, local localState, fetch fetchFunc,
) (fetchedToken, *Error) {
	old, shared, err := s.load(ctx)
	if err == nil && shared.good(p, local) {
		return shared, nil
	}
	// The cache has no token that can be opened, so continue from this process's token.
	if shared.token.Empty() {
		shared = local.fetchedToken
	}
	got, failure := fetch(ctx, shared)
	if failure != nil || got.token.Empty() {
		return got, failure
	}
	s.put(ctx, old, got)
	return got, nil
}

// cached is a token as stored in the cache, before sealing. Its times come from the clock of the
// machine that wrote it, so they are compared only with each other. The remaining lifetime of
// the token is the remaining lifetime of the cached value.
type cached struct {
	Token   string    `json:"token"`
	Fetched time.Time `json:"fetched"`
	Expires time.Time `json:"expires"`
	Rows    rows      `json:"rows,omitzero"`
}

// load returns the cached token, both sealed and opened.
func (s *sharedTokens) load(ctx context.Context) (sealed []byte, opened fetchedToken, err error) {
	var value cached
	sealed, left, err := s.value.loadWithLife(ctx, &value)
	life := value.Expires.Sub(value.Fetched)
	opened = fetchedToken{
		token: secret.New(value.Token), left: left, age: max(0, life-left), rows: value.Rows,
	}
	return sealed, opened, err
}

// put caches a token that was just fetched if the cache still holds old. If that fails, only
// this process uses the token, and the next process fetches its own.
func (s *sharedTokens) put(ctx context.Context, old []byte, got fetchedToken) {
	life := min(max(got.left, minLife), maxLife)
	now := time.Now()
	value := cached{Token: got.token.Reveal(), Fetched: now, Expires: now.Add(life), Rows: got.rows}
	_, _ = s.value.swap(ctx, old, value, life)
}
