package wechat_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"cloudidq/internal/secret"
	"cloudidq/internal/wechat"
)

// tokenServer simulates WeChat with a token that a test can invalidate. It records when a token is
// fetched.
type tokenServer struct {
	mu       sync.Mutex // guards the fields below
	token    string     // the token that stable_token returns
	good     string     // the token that getopendata accepts
	refusal  string     // the answer of getopendata to any other token
	begun    time.Time
	fetched  []time.Duration // since begun
	answered []time.Duration // answers with data, since begun
}

func newTokenServer() *tokenServer {
	return &tokenServer{token: "T1", good: "T1", refusal: refused(40001), begun: time.Now()}
}

func refused(code int) string { return fmt.Sprintf(`{"errcode":%d,"errmsg":"access_token"}`, code) }

// invalidate invalidates the token. stable_token still returns it for the time lag, and then a new
// one.
func (s *tokenServer) invalidate(code int, lag time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begun, s.fetched, s.answered = time.Now(), nil, nil
	s.good += "+"
	s.refusal = refused(code)
	renew := func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.token = s.good
	}
	if lag == 0 {
		s.token = s.good
		return
	}
	time.AfterFunc(lag, renew)
}

// RoundTrip implements [http.RoundTripper]. An answer takes 50 ms.
func (s *tokenServer) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		_, _ = io.Copy(io.Discard, r.Body)
	}
	if err := pause(r.Context(), 50*time.Millisecond); err != nil {
		return nil, err
	}
	text := s.answer(r)
	return &http.Response{StatusCode: 200, ContentLength: -1, Body: io.NopCloser(strings.NewReader(text))}, nil
}

func (s *tokenServer) answer(r *http.Request) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.URL.Path == "/cgi-bin/stable_token" {
		s.fetched = append(s.fetched, time.Since(s.begun))
		return fmt.Sprintf(`{"access_token":%q,"expires_in":7200}`, s.token)
	}
	if r.URL.Query().Get("access_token") != s.good {
		return s.refusal
	}
	s.answered = append(s.answered, time.Since(s.begun))
	return list(entry("a", `{"data":{}}`))
}

func (s *tokenServer) fetches() []time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fetched
}

// If a token becomes invalid seconds after the fetch, because of another program or before its
// stated expiry, the app recovers within three seconds. A worker repeats a failed request after up
// to two seconds, as the queue does.
func TestSharedTokens_InvalidatedToken_WorkersRecoverWithinThreeSeconds(t *testing.T) {
	for _, code := range []int{40001, 40014, 42001} {
		for _, lag := range []time.Duration{0, time.Second, 1900 * time.Millisecond} {
			t.Run(fmt.Sprintf("%d_%s", code, lag), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { invalidatedToken(t, code, lag) })
			})
		}
	}
}

func invalidatedToken(t *testing.T, code int, lag time.Duration) {
	s, cache := newTokenServer(), newMemoryTokens()
	var workers sync.WaitGroup
	stop := make(chan struct{})
	var first [2]time.Duration // time from the invalidation to the next success, per worker
	invalidated := make(chan struct{})
	for i := range first {
		client, source := worker(t, cache, s)
		workers.Go(func() {
			succeeds := func() bool {
				return client.GetOpenData(t.Context(), source, request("a"))[0].Err == nil
			}
			if !succeeds() {
				t.Error("no data with a valid token")
			}
			<-invalidated
			begun := time.Now()
			for !succeeds() {
				time.Sleep(2 * time.Second)
			}
			first[i] = time.Since(begun)
			<-stop
		})
	}
	time.Sleep(3 * time.Second)
	s.invalidate(code, lag)
	close(invalidated)
	time.Sleep(20 * time.Second)
	close(stop)
	workers.Wait()
	for i, took := range first {
		if took == 0 || took > 3*time.Second {
			t.Errorf("worker %d: %s from the invalidation to the next success, want at most 3s", i, took)
		}
	}
	if n := len(s.fetches()); n > 4 {
		t.Errorf("%d fetches after the invalidation of one token, at %v; want at most 4", n, s.fetches())
	}
}

// worker returns the client and token source of one process. Processes share only the cache.
func worker(t *testing.T, cache wechat.TokenCache, transport http.RoundTripper) (*wechat.Client, wechat.TokenSource) {
	t.Helper()
	client, err := wechat.New(wechat.Config{BaseURL: "https://api.weixin.qq.com", Tokens: cache})
	if err != nil {
		t.Fatal(err)
	}
	client.SetTransport(transport)
	t.Cleanup(client.Close)
	return client, client.StableToken("wx1", secret.New("AppSecret"))
}

// If fetches keep returning the refused token, the fetches happen at once and then after 1, 2, 4, 8
// and 10 seconds. The first refusal may be true, but a storm of refusals is not.
func TestStableToken_PaceOfRefetches(t *testing.T) {
	for name, cache := range map[string]wechat.TokenCache{"Alone": nil, "Shared": newMemoryTokens()} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newTokenServer()
				_, source := worker(t, cache, s)
				rejectFor(t, source, 40001, 0)
				s.invalidate(40001, time.Hour)
				rejectFor(t, source, 40001, 40*time.Second)
				want := []time.Duration{0, 1, 3, 7, 15, 25, 35}
				if diff := cmp.Diff(want, seconds(s.fetches())); diff != "" {
					t.Errorf("fetches, in whole seconds after the first refusal (-want +got):\n%s", diff)
				}
				// After a minute without refusals, the next refusal counts as the first one.
				time.Sleep(time.Minute)
				s.invalidate(40001, time.Hour)
				rejectFor(t, source, 40001, 4*time.Second)
				if diff := cmp.Diff([]time.Duration{0, 1, 3}, seconds(s.fetches())); diff != "" {
					t.Errorf("fetches after a quiet period (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// WeChat never returns 42001 for a valid token. Therefore 42001 leads to a fetch at once, even
// during a storm of 40001 when the next fetch would be due only after some seconds.
func TestStableToken_ExpiredIsFetchedAtOnce(t *testing.T) {
	for name, cache := range map[string]wechat.TokenCache{"Alone": nil, "Shared": newMemoryTokens()} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newTokenServer()
				_, source := worker(t, cache, s)
				rejectFor(t, source, 40001, 9*time.Second) // the next fetch is due at 15 s
				s.invalidate(42001, 0)
				rejectFor(t, source, 42001, 0)
				if got, err := source.Token(t.Context()); err != nil || got.Value.Reveal() != "T1+" {
					t.Errorf("Token after 42001 = %v, %v, want the new token at once", got, err)
				}
				if n := len(s.fetches()); n != 1 {
					t.Errorf("%d fetches, want one", n)
				}
			})
		})
	}
}

// If WeChat refuses every token that it returns, with either code, there are pauses between
// fetches.
func TestSharedTokens_StormOfNewTokens_FewFetches(t *testing.T) {
	for _, code := range []int{40001, 42001} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := &countingEndpoint{token: numbered}
				sources := processes(t, 20, newMemoryTokens(), e)
				tokensOf(t, sources)
				var all sync.WaitGroup
				for _, s := range sources {
					all.Go(func() { rejectFor(t, s, code, 5*time.Second) })
				}
				all.Wait()
				if n := e.calls.Load(); n > 10 {
					t.Errorf("%d fetches in a storm of 5 s over 20 processes, want at most 10", n)
				}
			})
		})
	}
}

// The clock of the machine that fetched a token does not matter. The remaining lifetime of the
// token is the remaining lifetime of the cached value.
func TestSharedTokens_IndependentOfOtherClocks(t *testing.T) {
	for name, skew := range map[string]time.Duration{"HourAhead": time.Hour, "HoursBehind": -3 * time.Hour} {
		t.Run(name+"_GoodTokenIsUsed", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cache, e := newMemoryTokens(), &countingEndpoint{token: numbered}
				wechat.CacheStableToken(t, cache, "wx1", "AppSecret", "of-another", time.Now().Add(skew), 2*time.Hour)
				if seen := tokensOf(t, processes(t, 1, cache, e)); seen["of-another"] != 1 || e.calls.Load() != 0 {
					t.Errorf("%d fetches and tokens %v, want the token that another process has fetched",
						e.calls.Load(), seen)
				}
			})
		})
		t.Run(name+"_TokenInItsLastMinutesIsReplaced", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cache, e := newMemoryTokens(), &countingEndpoint{token: numbered}
				wechat.CacheStableToken(t, cache, "wx1", "AppSecret", "of-another", time.Now().Add(skew), 2*time.Hour)
				time.Sleep(2*time.Hour - 4*time.Minute)
				if seen := tokensOf(t, processes(t, 1, cache, e)); seen["T1"] != 1 {
					t.Errorf("%d fetches and tokens %v, want a new token in the last minutes of the old one",
						e.calls.Load(), seen)
				}
			})
		})
		t.Run(name+"_RefusedTokenIsReplaced", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cache, e := newMemoryTokens(), &countingEndpoint{token: numbered}
				wechat.CacheStableToken(t, cache, "wx1", "AppSecret", "of-another", time.Now().Add(skew), 2*time.Hour)
				source := processes(t, 1, cache, e)[0]
				rejectFor(t, source, 40001, 0)
				if seen := tokensOf(t, []wechat.TokenSource{source}); seen["T1"] != 1 || e.calls.Load() != 1 {
					t.Errorf("%d fetches and tokens %v, want one fetch for the refused token", e.calls.Load(),
						seen)
				}
			})
		})
	}
}

// rejectFor uses and rejects tokens twenty times a second for the time d, at least once.
func rejectFor(t *testing.T, source wechat.TokenSource, code int, d time.Duration) {
	t.Helper()
	for begun := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		token, err := source.Token(t.Context())
		if err != nil {
			t.Error(err)
			return
		}
		source.Reject(t.Context(), token, code)
		if time.Since(begun) >= d {
			return
		}
	}
}

// seconds truncates each duration to whole seconds.
func seconds(all []time.Duration) []time.Duration {
	whole := make([]time.Duration, len(all))
	for i, d := range all {
		whole[i] = d / time.Second
	}
	return whole
}
