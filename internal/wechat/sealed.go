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

// sealedValue is one value of the cache that all processes share, as JSON and sealed. Its key is made of a secret that
// the processes have in common, so that whoever reads it in Redis has nothing, and whoever can open it could have
// fetched it.
type sealedValue struct {
	cache TokenCache
	key   string
	aead  cipher.AEAD
}

// newSealedValue returns the value at key, which names what it is and whose. The secret must not be empty.
func newSealedValue(cache TokenCache, key string, from secret.Text) sealedValue {
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
	return sealedValue{cache: cache, key: key, aead: aead}
}

// load opens what is cached into the value that to points at, and returns it as it lies there, for swap. What is not
// there, or cannot be opened because the secret has changed, leaves to as it is.
func (s sealedValue) load(ctx context.Context, to any) (sealed []byte, err error) {
	sealed, _, err = s.loadWithLife(ctx, to)
	return sealed, err
}

// loadWithLife is load, with how much longer the value is cached; 0 = without end.
func (s sealedValue) loadWithLife(ctx context.Context, to any) (sealed []byte, left time.Duration, err error) {
	sealed, left, err = s.cache.Load(ctx, s.key)
	if err != nil || sealed == nil {
		return nil, 0, err
	}
	if text, err := s.aead.Open(nil, nil, sealed, []byte(s.key)); err == nil {
		_ = json.Unmarshal(text, to) // sealed by us, so it fails for a version to come at most
	}
	return sealed, left, nil
}

// swap caches a value for ttl, 0 = for good, if what is there still is old.
func (s sealedValue) swap(ctx context.Context, old []byte, value any, ttl time.Duration) (bool, error) {
	text, err := json.Marshal(value)
	if err != nil {
		return false, fmt.Errorf("sealing a token: %w", err) // a time beyond the year 9999
	}
	return s.cache.Swap(ctx, s.key, old, s.aead.Seal(nil, nil, text, []byte(s.key)), ttl)
}
