package store

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

// Tokens is the cache by which all processes share WeChat's access tokens, with the lock that lets one of them fetch.
// It keeps what it is given: the caller seals. It implements wechat.TokenCache.
type Tokens struct{ rdb redis.Cmdable }

//go:embed token_swap.lua
var tokenSwapLua string

//go:embed token_unlock.lua
var tokenUnlockLua string

var (
	tokenSwap   = redis.NewScript(tokenSwapLua)
	tokenUnlock = redis.NewScript(tokenUnlockLua)
)

// unlockTimeout bounds the unlock, which happens even when the context of the fetch has ended.
const unlockTimeout = 2 * time.Second

// NewTokens returns the tokens in rdb, which stays the caller's to close.
func NewTokens(rdb redis.Cmdable) *Tokens { return &Tokens{rdb: rdb} }

// tokenKey is where the token of key lies: "cloudidq:token:{16 hex characters of its hash}"; its lock is beside it, in
// the same slot of a cluster.
func tokenKey(key string) string {
	sum := sha256.Sum256([]byte(key))
	return "cloudidq:token:{" + hex.EncodeToString(sum[:8]) + "}"
}

// Load returns what is cached under key, or nil, and how much longer it will be, by Redis's clock; 0 = without end.
func (t *Tokens) Load(ctx context.Context, key string) (value []byte, left time.Duration, err error) {
	at := tokenKey(key)
	both := t.rdb.Pipeline()
	got, life := both.Get(ctx, at), both.PTTL(ctx, at)
	if _, err = both.Exec(ctx); errors.Is(err, redis.Nil) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, fmt.Errorf("loading a token: %w", err)
	}
	if value, err = got.Bytes(); err != nil {
		return nil, 0, fmt.Errorf("loading a token: %w", err)
	}
	switch left = life.Val(); left {
	case -1: // no end
		left = 0
	case -2: // gone since
		return nil, 0, nil
	}
	return value, left, nil
}

// Swap puts value under key for ttl, 0 = for good, if what is there still is old (nil = nothing), and reports whether
// it did.
func (t *Tokens) Swap(ctx context.Context, key string, old, value []byte, ttl time.Duration) (bool, error) {
	ms := ttl.Milliseconds()
	if ttl > 0 {
		ms = max(1, ms)
	}
	done, err := tokenSwap.Run(ctx, t.rdb, []string{tokenKey(key)}, old, value, ms).Bool()
	if err != nil && !errors.Is(err, redis.Nil) {
		return false, fmt.Errorf("saving a token: %w", err)
	}
	return done, nil
}

// Lock makes the caller the only process that fetches the token of key, until unlock or ttl; ok is false if another
// process is.
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
		// If it fails the lock lapses by itself.
		_ = tokenUnlock.Run(ctx, t.rdb, []string{lock}, mine).Err()
	}, true, nil
}
