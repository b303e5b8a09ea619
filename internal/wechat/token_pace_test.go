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

// tokenServer is a WeChat whose token dies when the test says so. It notes when it was asked for a token.
type tokenServer struct {
	mu      sync.Mutex // guards what follows
	token   string     // what stable_token gives
	good    string     // what getopendata takes
	refusal string     // its answer to another
	begun   time.Time
	fetched []time.Duration // since begun
	settled []time.Duration // answers with data, since begun
}

func newTokenServer() *tokenServer {
	return &tokenServer{token: "T1", good: "T1", refusal: refused(40001), begun: time.Now()}
}

func refused(code int) string { return fmt.Sprintf(`{"errcode":%d,"errmsg":"access_token"}`, code) }

// dies voids the token; stable_token still gives it for so long, and then another.
func (s *tokenServer) dies(code int, lag time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begun, s.fetched, s.settled = time.Now(), nil, nil
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
	s.settled = append(s.settled, time.Since(s.begun))
	return list(entry("a", `{"data":{}}`))
}

func (s *tokenServer) fetches() []time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fetched
}

// A token that dies seconds after it was fetched, by another program or before its time, costs an app at most three seconds,
// not the ten that had to lie between two fetches. A worker asks again as the queue lets it: up to two seconds after a try
// that failed.
func TestSharedTokens_EarlyDeath_TwoWorkersGoOnWithinThreeSeconds(t *testing.T) {
	for _, code := range []int{40001, 40014, 42001} {
		for _, lag := range []time.Duration{0, time.Second, 1900 * time.Millisecond} {
			t.Run(fmt.Sprintf("%d_%s", code, lag), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { earlyDeath(t, code, lag) })
			})
		}
	}
}

func earlyDeath(t *testing.T, code int, lag time.Duration) {
	s, cache := newTokenServer(), newMemoryTokens()
	var workers sync.WaitGroup
	stop := make(chan struct{})
	var first [2]time.Duration // from the death of the token to the next success, per worker
	died := make(chan struct{})
	for i := range first {
		client, source := worker(t, cache, s)
		workers.Go(func() {
			ask := func() bool { return client.GetOpenData(t.Context(), source, request("a"))[0].Err == nil }
			if !ask() {
				t.Error("no answer with a good token")
			}
			<-died
			begun := time.Now()
			for !ask() {
				time.Sleep(2 * time.Second)
			}
			first[i] = time.Since(begun)
			<-stop
		})
	}
	time.Sleep(3 * time.Second)
	s.dies(code, lag)
	close(died)
	time.Sleep(20 * time.Second)
	close(stop)
	workers.Wait()
	for i, took := range first {
		if took == 0 || took > 3*time.Second {
			t.Errorf("worker %d: %s from the death of the token to the next success, want at most 3 s", i, took)
		}
	}
	if n := len(s.fetches()); n > 4 {
		t.Errorf("%d fetches after the death of one token, at %v", n, s.fetches())
	}
}

// worker is a process that shares the cache alone.
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

// While the same token keeps coming back it is fetched at once, then after 1, 2, 4, 8 and 10 seconds: the first refusal may
// be true, and a storm of them is not.
func TestStableToken_PaceOfRefetches(t *testing.T) {
	for name, cache := range map[string]wechat.TokenCache{"Alone": nil, "Shared": newMemoryTokens()} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newTokenServer()
				_, source := worker(t, cache, s)
				rejectFor(t, source, 40001, 0)
				s.dies(40001, time.Hour)
				rejectFor(t, source, 40001, 40*time.Second)
				want := []time.Duration{0, 1, 3, 7, 15, 25, 35}
				if diff := cmp.Diff(want, seconds(s.fetches())); diff != "" {
					t.Errorf("fetches, in whole seconds after the first refusal (-want +got):\n%s", diff)
				}
				// A minute without refusals later the next one is a first one again.
				time.Sleep(time.Minute)
				s.dies(40001, time.Hour)
				rejectFor(t, source, 40001, 4*time.Second)
				if diff := cmp.Diff([]time.Duration{0, 1, 3}, seconds(s.fetches())); diff != "" {
					t.Errorf("fetches after a calm (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// 42001 is never said of a token that is good: in the midst of a storm of 40001, when the next fetch is seconds away, it
// leads to one at once.
func TestStableToken_ExpiredIsBelievedAtOnce(t *testing.T) {
	for name, cache := range map[string]wechat.TokenCache{"Alone": nil, "Shared": newMemoryTokens()} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newTokenServer()
				_, source := worker(t, cache, s)
				rejectFor(t, source, 40001, 9*time.Second) // the next one is due at 15 s
				s.dies(42001, 0)
				rejectFor(t, source, 42001, 0)
				if got, err := source.Token(t.Context()); err != nil || got.Value.Reveal() != "T1+" {
					t.Errorf("Token after 42001 = %v, %v, want the new one at once", got, err)
				}
				if n := len(s.fetches()); n != 1 {
					t.Errorf("%d fetches, want one", n)
				}
			})
		})
	}
}

// A WeChat that refuses each token it has given, in either way, is not asked for tokens without a pause.
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

// The machine that has fetched a token may have any clock: what is left of its life is what is left of the cached value's.
func TestSharedTokens_ClockOfAnotherMachineHasNoSay(t *testing.T) {
	for name, skew := range map[string]time.Duration{"HourAhead": time.Hour, "HoursBehind": -3 * time.Hour} {
		t.Run(name+"_GoodTokenIsUsed", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cache, e := newMemoryTokens(), &countingEndpoint{token: numbered}
				wechat.CacheStableToken(t, cache, "wx1", "AppSecret", "of-another", time.Now().Add(skew), 2*time.Hour)
				if seen := tokensOf(t, processes(t, 1, cache, e)); seen["of-another"] != 1 || e.calls.Load() != 0 {
					t.Errorf("%d fetches brought %v, want the token that another process has fetched", e.calls.Load(), seen)
				}
			})
		})
		t.Run(name+"_LastMinutesAreNot", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cache, e := newMemoryTokens(), &countingEndpoint{token: numbered}
				wechat.CacheStableToken(t, cache, "wx1", "AppSecret", "of-another", time.Now().Add(skew), 2*time.Hour)
				time.Sleep(2*time.Hour - 4*time.Minute)
				if seen := tokensOf(t, processes(t, 1, cache, e)); seen["T1"] != 1 {
					t.Errorf("%d fetches brought %v, want a new token in the last minutes of the old one", e.calls.Load(), seen)
				}
			})
		})
		t.Run(name+"_RefusedTokenIsFetchedAnew", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cache, e := newMemoryTokens(), &countingEndpoint{token: numbered}
				wechat.CacheStableToken(t, cache, "wx1", "AppSecret", "of-another", time.Now().Add(skew), 2*time.Hour)
				source := processes(t, 1, cache, e)[0]
				rejectFor(t, source, 40001, 0)
				if seen := tokensOf(t, []wechat.TokenSource{source}); seen["T1"] != 1 || e.calls.Load() != 1 {
					t.Errorf("%d fetches brought %v, want one for the refused token", e.calls.Load(), seen)
				}
			})
		})
	}
}

// rejectFor uses tokens that are refused, twenty times a second, at least once.
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

// seconds cuts each to whole ones.
func seconds(all []time.Duration) []time.Duration {
	whole := make([]time.Duration, len(all))
	for i, d := range all {
		whole[i] = d / time.Second
	}
	return whole
}
