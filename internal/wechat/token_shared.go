package wechat

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"time"

	"cloudidq/internal/secret"
)

// TokenCache shares tokens between processes; store.Tokens is one. It sees sealed values only.
type TokenCache interface {
	// Load returns what is cached under key, or nil.
	Load(ctx context.Context, key string) ([]byte, error)
	// Swap puts value under key for ttl if what is there still is old (nil = nothing), and reports whether it did.
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
// what it has put into the cache. It is sealed under a key made of the secret that the fetch needs, so whoever can read
// the cached token could have fetched one.
type sharedTokens struct {
	cache TokenCache
	key   string
	aead  cipher.AEAD
}

// newSharedTokens returns nil, which shares nothing, for a nil cache. The key names mode and app.
func newSharedTokens(cache TokenCache, key string, from secret.Text) *sharedTokens {
	if cache == nil {
		return nil
	}
	sealing, err := hkdf.Key(sha256.New, []byte(from.Reveal()), nil, "cloudidq token v1|"+key, 32)
	if err != nil {
		panic(fmt.Sprintf("wechat: 32 bytes of HKDF-SHA256: %v", err)) // impossible: the bound is 8160
	}
	block, err := aes.NewCipher(sealing)
	if err != nil {
		panic(fmt.Sprintf("wechat: a key of 32 bytes: %v", err)) // impossible
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(fmt.Sprintf("wechat: GCM over AES: %v", err)) // impossible
	}
	return &sharedTokens{cache: cache, key: key, aead: aead}
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
		unlock, ok, err := s.cache.Lock(ctx, s.key, fetchLock)
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
	got.life = min(max(got.life, minLife), maxLife)
	now := time.Now()
	if sealed := s.seal(cached{Token: got.token.Reveal(), Fetched: now, Expires: now.Add(got.life)}); sealed != nil {
		// If this fails the token serves this process, and the next one fetches its own.
		_, _ = s.cache.Swap(ctx, s.key, old, sealed, got.life)
	}
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

// load returns what is cached, sealed and opened. What cannot be opened, because the AppSecret has changed, counts as
// nothing but is replaced.
func (s *sharedTokens) load(ctx context.Context) (sealed []byte, opened cached, err error) {
	sealed, err = s.cache.Load(ctx, s.key)
	if err != nil || sealed == nil {
		return nil, cached{}, err
	}
	text, err := s.aead.Open(nil, nil, sealed, []byte(s.key))
	if err != nil || json.Unmarshal(text, &opened) != nil {
		return sealed, cached{}, nil
	}
	return sealed, opened, nil
}

func (s *sharedTokens) seal(c cached) []byte {
	text, err := json.Marshal(c)
	if err != nil {
		return nil // a time beyond the year 9999
	}
	return s.aead.Seal(nil, nil, text, []byte(s.key))
}
