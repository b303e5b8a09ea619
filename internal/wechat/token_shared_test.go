package wechat_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"cloudidq/internal/coord"
	"cloudidq/internal/redistest"
	"cloudidq/internal/secret"
	"cloudidq/internal/wechat"
)

var _ wechat.TokenCache = (*coord.Tokens)(nil)

// memoryTokens is a TokenCache in memory, for synctest bubbles.
type memoryTokens struct {
	mu       sync.Mutex
	values   map[string][]byte
	expiries map[string]time.Time
	locked   map[string]bool
	broken   bool
}

func newMemoryTokens() *memoryTokens {
	return &memoryTokens{values: map[string][]byte{}, expiries: map[string]time.Time{}, locked: map[string]bool{}}
}

func (m *memoryTokens) Load(_ context.Context, key string) ([]byte, time.Duration, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.broken {
		return nil, 0, errors.New("connection refused")
	}
	value, left := m.loadLocked(key)
	return value, left, nil
}

// loadLocked is Load for a caller that holds mu.
func (m *memoryTokens) loadLocked(key string) (value []byte, left time.Duration) {
	end := m.expiries[key]
	if left = time.Until(end); end.IsZero() || left > 0 {
		return m.values[key], max(0, left)
	}
	return nil, 0
}

func (m *memoryTokens) Swap(_ context.Context, key string, old, value []byte, ttl time.Duration) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if there, _ := m.loadLocked(key); !bytes.Equal(there, old) {
		return false, nil
	}
	m.values[key], m.expiries[key] = value, time.Time{}
	if ttl > 0 {
		m.expiries[key] = time.Now().Add(ttl)
	}
	return true, nil
}

func (m *memoryTokens) Lock(_ context.Context, key string, _ time.Duration) (func(), bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.locked[key] {
		return nil, false, nil
	}
	m.locked[key] = true
	return func() { m.mu.Lock(); m.locked[key] = false; m.mu.Unlock() }, true, nil
}

// countingEndpoint is a slow stable_token endpoint that counts its calls.
type countingEndpoint struct {
	calls atomic.Int64
	token func(call int64) string
}

func (e *countingEndpoint) RoundTrip(r *http.Request) (*http.Response, error) {
	n := e.calls.Add(1)
	if err := pause(r.Context(), 200*time.Millisecond); err != nil {
		return nil, err
	}
	text := fmt.Sprintf(`{"access_token":%q,"expires_in":7200}`, e.token(n))
	return &http.Response{StatusCode: 200, ContentLength: -1, Body: io.NopCloser(strings.NewReader(text))}, nil
}

// processes returns token sources that share only the cache and the endpoint.
func processes(t *testing.T, n int, cache wechat.TokenCache, e *countingEndpoint) []wechat.TokenSource {
	t.Helper()
	var sources []wechat.TokenSource
	for range n {
		client, err := wechat.New(wechat.Config{BaseURL: "https://api.weixin.qq.com", Tokens: cache})
		if err != nil {
			t.Fatal(err)
		}
		client.SetTransport(e)
		t.Cleanup(client.Close)
		sources = append(sources, client.StableToken("wx1", secret.New("AppSecret")))
	}
	return sources
}

// tokensOf requests a token from all sources concurrently and counts the results.
func tokensOf(t *testing.T, sources []wechat.TokenSource) map[string]int {
	t.Helper()
	var mu sync.Mutex
	seen := map[string]int{}
	var wg sync.WaitGroup
	for _, s := range sources {
		wg.Go(func() {
			token, err := s.Token(t.Context())
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			seen[token.Value.Reveal()]++
		})
	}
	wg.Wait()
	return seen
}

func numbered(n int64) string { return fmt.Sprintf("T%d", n) }

func TestSharedTokens_OneFetchForAllProcesses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &countingEndpoint{token: numbered}
		sources := processes(t, 20, newMemoryTokens(), e)
		if seen := tokensOf(t, sources); len(seen) != 1 || e.calls.Load() != 1 {
			t.Errorf("%d fetches and tokens %v, want one fetch for all", e.calls.Load(), seen)
		}
		time.Sleep(2 * time.Hour) // the token expires
		if seen := tokensOf(t, sources); seen["T1"] != 0 || e.calls.Load() != 2 {
			t.Errorf("after the expiry: %d fetches and tokens %v, want one more fetch", e.calls.Load(), seen)
		}
	})
}

func TestSharedTokens_RefusedByAll_OneFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &countingEndpoint{token: numbered}
		sources := processes(t, 20, newMemoryTokens(), e)
		tokensOf(t, sources)
		time.Sleep(time.Hour)
		for _, s := range sources {
			token, _ := s.Token(t.Context())
			s.Reject(t.Context(), token, 40001)
		}
		if seen := tokensOf(t, sources); seen["T2"] != 20 || e.calls.Load() != 2 {
			t.Errorf("%d fetches and tokens %v, want one more fetch for all", e.calls.Load(), seen)
		}
	})
}

// For five seconds, half of all calls return 40001 for a valid token, and stable_token returns the
// same token.
func TestSharedTokens_StormOfRefusals_FewFetches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &countingEndpoint{token: func(int64) string { return "T" }}
		sources := processes(t, 20, newMemoryTokens(), e)
		tokensOf(t, sources)
		time.Sleep(time.Hour)
		for range 100 {
			for _, s := range sources {
				token, err := s.Token(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				s.Reject(t.Context(), token, 40001)
			}
			time.Sleep(50 * time.Millisecond)
		}
		if n := e.calls.Load(); n > 4 { // the first one, then after 0, 1 and 3 s
			t.Errorf("%d fetches in a storm of 2,000 refusals, want at most 4", n)
		}
	})
}

func TestSharedTokens_CacheUnavailable_EachProcessFetches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &countingEndpoint{token: numbered}
		cache := newMemoryTokens()
		cache.broken = true
		if seen := tokensOf(t, processes(t, 3, cache, e)); len(seen) != 3 {
			t.Errorf("tokens %v, want each process to have fetched", seen)
		}
	})
}

func TestSharedTokens_LockOfDeadProcessExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cache := newMemoryTokens()
		cache.locked["stable:wx1"] = true // the lock of a process that died during a fetch
		begun := time.Now()
		_, err := processes(t, 1, cache, &countingEndpoint{token: numbered})[0].Token(t.Context())
		if err == nil || time.Since(begun) > 20*time.Second {
			t.Errorf("Token() = %v after %s, want an error within the time limit of a fetch", err,
				time.Since(begun))
		}
	})
}

func TestSharedTokens_OnRedis_Sealed(t *testing.T) {
	const planted, appSecret = "planted-access-token-4711", "planted-AppSecret-4711"
	var calls atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		calls.Add(1)
		_, _ = fmt.Fprintf(w, `{"access_token":%q,"expires_in":7200}`, planted)
	}))
	defer server.Close()
	srv := redistest.Start(t)
	token := func(secretOfApp string) string {
		client, err := wechat.New(wechat.Config{BaseURL: server.URL, Tokens: coord.NewTokens(srv.Client(t))})
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		got, err := client.StableToken("wx1", secret.New(secretOfApp)).Token(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return got.Value.Reveal()
	}
	for range 5 {
		if got := token(appSecret); got != planted {
			t.Errorf("token = %q", got)
		}
	}
	if n := calls.Load(); n != 1 {
		t.Errorf("%d fetches by 5 processes, want 1", n)
	}
	rdb := srv.Client(t)
	keys := rdb.Keys(t.Context(), "*").Val()
	if len(keys) != 1 || rdb.PTTL(t.Context(), keys[0]).Val() <= time.Hour {
		t.Errorf("keys %v, want only the key of the token, with a TTL", keys)
	}
	for _, key := range keys {
		if dump := key + rdb.Get(t.Context(), key).Val(); strings.Contains(dump, "planted") || strings.Contains(dump, "wx1") {
			t.Errorf("Redis contains the token or the AppSecret: %q", dump)
		}
	}
	if token("another AppSecret"); calls.Load() != 2 {
		t.Errorf("%d fetches, want one more by the process with another AppSecret", calls.Load())
	}
}
