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

// sealedValue is one value of the cache that all processes share, as sealed JSON. The sealing
// key is derived from a secret that the processes have in common. Someone who reads Redis cannot
// open the value. Someone who can open it knows the secret and could have fetched the token.
type sealedValue struct {
	cache TokenCache
	key   string
	aead  cipher.AEAD
}

// newSealedValue returns the value at key, which names the kind and the owner of the value. The
// secret must not be empty.
func newSealedValue(cache TokenCache, key string, from secret.Text) sealedValue {
	sealing, err := hkdf.Key(sha256.New, []byte(from.Reveal()), nil, "cloudidq token v1|"+key, 32)
	if err != nil {
		panic(fmt.Sprintf("wechat: 32 bytes of HKDF-SHA256: %v", err)) // impossible: the limit is 8160 bytes
	}
	block, err := aes.NewCipher(sealing)
	if err != nil {
		panic(fmt.Sprintf("wechat: a key of 32 bytes: %v", err)) // impossible
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(fmt.Sprintf("wechat: GCM over AES: %v", err)) // impossible
	}
	return sealedValue{cache: cache, key: key, aead: aead}
}

// load opens the cached value into to, which must be a pointer. It returns the sealed form for
// swap. If there is no value, or it cannot be opened because the secret has changed, load does
// not modify to.
func (s sealedValue) load(ctx context.Context, to any) (sealed []byte, err error) {
	sealed, _, err = s.loadWithLife(ctx, to)
	return sealed, err
}

// loadWithLife is load, and also returns how much longer the value is cached; 0 means without
// expiry.
func (s sealedValue) loadWithLife(ctx context.Context, to any) (sealed []byte, left time.Duration, err error) {
	sealed, left, err = s.cache.Load(ctx, s.key)
	if err != nil || sealed == nil {
		return nil, 0, err
	}
	if text, err := s.aead.Open(nil, nil, sealed, []byte(s.key)); err == nil {
		_ = json.Unmarshal(text, to) // sealed by cloudidq, so it only fails for a future version
	}
	return sealed, left, nil
}

// swap caches a value for ttl if the cache still holds old, and reports whether it did. ttl 0
// means no expiry.
func (s sealedValue) swap(ctx context.Context, old []byte, value any, ttl time.Duration) (bool, error) {
	text, err := json.Marshal(value)
	if err != nil {
		return false, fmt.Errorf("sealing a token: %w", err) // possible for a time beyond the year 9999
	}
	return s.cache.Swap(ctx, s.key, old, s.aead.Seal(nil, nil, text, []byte(s.key)), ttl)
}
