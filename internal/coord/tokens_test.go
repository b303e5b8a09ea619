package coord_test

import (
	"testing"
	"time"

	"cloudidq/internal/coord"
	"cloudidq/internal/redistest"
)

// Swap stores a value only if the caller's old value is still the cached one.
func TestTokens_SwapComparesOldValue(t *testing.T) {
	tokens, ctx := coord.NewTokens(redistest.Start(t).Client(t)), t.Context()
	if value, _, err := tokens.Load(ctx, "k"); value != nil || err != nil {
		t.Fatalf("Load() of nothing = %q, %v", value, err)
	}
	for _, step := range []struct {
		old, value string
		want       bool
		cached     string
	}{
		{"", "one", true, "one"},
		{"", "two", false, "one"},
		{"other", "two", false, "one"},
		{"one", "two", true, "two"},
	} {
		done, err := tokens.Swap(ctx, "k", []byte(step.old), []byte(step.value), time.Minute)
		if done != step.want || err != nil {
			t.Errorf("Swap(%q, %q) = %t, %v, want %t", step.old, step.value, done, err, step.want)
		}
		if cached, left, err := tokens.Load(ctx, "k"); left <= 0 || left > time.Minute ||
			string(cached) != step.cached || err != nil {
			t.Errorf("Load() = %q for %s, %v, want %q for a minute", cached, left, err, step.cached)
		}
	}
}

// Only one process holds the lock of a key, and only its holder releases it.
func TestTokens_LockIsExclusive(t *testing.T) {
	srv := redistest.Start(t)
	one, two, ctx := coord.NewTokens(srv.Client(t)), coord.NewTokens(srv.Client(t)), t.Context()
	unlock, ok, err := one.Lock(ctx, "k", time.Minute)
	if !ok || err != nil {
		t.Fatalf("Lock() = %t, %v", ok, err)
	}
	if _, ok, err := two.Lock(ctx, "k", time.Minute); ok || err != nil {
		t.Errorf("second Lock() = %t, %v, want it to be held", ok, err)
	}
	if _, ok, err := two.Lock(ctx, "other", time.Minute); !ok || err != nil {
		t.Errorf("Lock() of another key = %t, %v", ok, err)
	}
	unlock()
	late, ok, err := two.Lock(ctx, "k", time.Minute)
	if !ok || err != nil {
		t.Errorf("Lock() after unlock = %t, %v", ok, err)
	}
	unlock() // a late second unlock: two holds the lock now
	if _, ok, _ := one.Lock(ctx, "k", time.Minute); ok {
		t.Error("an unlock released another process's lock")
	}
	late()
}
