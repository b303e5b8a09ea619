package coord

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// Tokens caches WeChat's access tokens for all processes, and provides the lock that lets one
// process fetch a token. It stores values as given: the caller seals them. It implements
// wechat.TokenCache.
type Tokens struct{ rdb redis.Cmdable }

//go:embed token_swap.lua
var tokenSwapLua string

var (
	tokenSwap = redis.NewScript(tokenSwapLua)
)

// unlockTimeout bounds the unlock, which runs even if the context of the fetch is canceled.
const unlockTimeout = 2 * time.Second

// NewTokens returns the tokens in rdb. The caller closes rdb.
func NewTokens(rdb redis.Cmdable) *Tokens { return &Tokens{rdb: rdb} }

// tokenKey returns the Redis key of a token: "cloudidq:token:{16 hex characters of the key's
// SHA-256}". The braces put the token and its lock in the same slot of a cluster.
func tokenKey(key string) string {
	sum := sha256.Sum256([]byte(key))
	return "cloudidq:token:{" + hex.EncodeToString(sum[:8]) + "}"
}

// Load returns the value cached under key and its remaining lifetime by Redis's clock. The
// value is nil if nothing is cached. A lifetime of 0 means that the value does not expire.
func (t *Tokens) Load(ctx context.Context, key string) (value []byte, left time.Duration, err error) {
	at := tokenKey(key)
	pipe := t.rdb.Pipeline()
	got, ttl := pipe.Get(ctx, at), pipe.PTTL(ctx, at)
	if _, err = pipe.Exec(ctx); errors.Is(err, redis.Nil) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, fmt.Errorf("loading a token: %w", err)
	}
	if value, err = got.Bytes(); err != nil {
		return nil, 0, fmt.Errorf("loading a token: %w", err)
	}
	switch left = ttl.Val(); left {
	case -1: // no TTL
		left = 0
	case -2: // expired between the two commands
		return nil, 0, nil
	}
	return value, left, nil
}

// Swap stores value under key for ttl, if the cached value still equals old. It reports whether
// it stored value. A nil old means that nothing is cached; a ttl of 0 means no expiry.
func (t *Tokens) Swap(ctx context.Context, key string, old, value []byte, ttl time.Duration) (bool, error) {
	ms := ttl.Milliseconds()
	if ttl > 0 {
		// 0 would mean no expiry.
		ms = max(1, ms)
	}
	done, err := tokenSwap.Run(ctx, t.rdb, []string{tokenKey(key)}, old, value, ms).Bool()
	if err != nil && !errors.Is(err, redis.Nil) {
		return false, fmt.Errorf("saving a token: %w", err)
	}
	return done, nil
}

// Lock makes the caller the only process that fetches the token of key, until it calls unlock
// or ttl passes. If another process holds the lock, ok is false and unlock is nil.
func (t *Tokens) Lock(ctx context.Context, key string, ttl time.Duration) (unlock func(), ok bool, err error) {
	lock, mine := tokenKey(key)+":lock", rand.Text()
	err = t.rdb.SetArgs(ctx, lock, mine, redis.SetArgs{Mode: "NX", TTL: ttl}).Err()
	if errors.Is(err, redis.Nil) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("locking a token: %w", err)
	}
	return func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), unlockTimeout)
		defer cancel()
		// If the unlock fails, the lock expires after its ttl.
		_ = deleteIfEqual.Run(ctx, t.rdb, []string{lock}, mine).Err()
	}, true, nil
}
