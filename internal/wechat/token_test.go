package wechat_test

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"cloudidq/internal/secret"
	"cloudidq/internal/wechat"
)

// endpoint is a fetch function that counts its calls. The test sets its result.
type endpoint struct {
	mu      sync.Mutex // guards the fields below
	fetches int
	token   string
	life    time.Duration
	err     *wechat.Error
	takes   time.Duration
}

func (e *endpoint) fetch(ctx context.Context) (string, time.Duration, *wechat.Error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.fetches++
	if pause(ctx, e.takes) != nil {
		return "", 0, &wechat.Error{Class: wechat.ClassRetry, Message: "interrupted"}
	}
	return e.token, e.life, e.err
}

// wantToken requests a token and compares it and the number of fetches so far. It first waits for
// fetches in the background.
func (e *endpoint) wantToken(t *testing.T, source wechat.TokenSource, want string, fetches int) wechat.Token {
	t.Helper()
	got, err := source.Token(t.Context())
	if err != nil || got.Value.Reveal() != want || got.Param != "access_token" {
		t.Errorf("Token = %s=%s, %v, want %s", got.Param, got.Value.Reveal(), err, want)
	}
	synctest.Wait()
	if e.fetches != fetches {
		t.Errorf("%d fetches so far, want %d", e.fetches, fetches)
	}
	return got
}

func (e *endpoint) wantError(t *testing.T, source wechat.TokenSource, fetches int) {
	t.Helper()
	_, err := source.Token(t.Context())
	if failure, ok := errors.AsType[*wechat.Error](err); !ok || failure != e.err {
		t.Errorf("Token = %v, want %v", err, e.err)
	}
	synctest.Wait()
	if e.fetches != fetches {
		t.Errorf("%d fetches so far, want %d", e.fetches, fetches)
	}
}

func TestTokenCache_RefreshesBeforeExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &endpoint{token: "t1", life: 2 * time.Hour}
		source := wechat.NewCachedTokens(e.fetch)
		e.wantToken(t, source, "t1", 1)
		time.Sleep(115*time.Minute - time.Second)
		e.wantToken(t, source, "t1", 1)
		e.token = "t2"
		time.Sleep(31 * time.Second) // the jitter is at most 30 s
		e.wantToken(t, source, "t1", 2)
		e.wantToken(t, source, "t2", 2)
	})
}

func TestTokenCache_StatedLifeIsNotTrusted(t *testing.T) {
	for name, life := range map[string]time.Duration{
		"Negative": -time.Hour, "Zero": 0, "Second": time.Second, "FiveMinutes": 5 * time.Minute,
	} {
		t.Run(name+"_UsedForAMinute", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := &endpoint{token: "t1", life: life}
				source := wechat.NewCachedTokens(e.fetch)
				e.wantToken(t, source, "t1", 1)
				time.Sleep(59 * time.Second)
				e.wantToken(t, source, "t1", 1)
				e.token = "t2"
				time.Sleep(8 * time.Second)
				_, _ = source.Token(t.Context())
				synctest.Wait()
				e.wantToken(t, source, "t2", 2)
			})
		})
	}
	t.Run("Years_UsedForTwoHours", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			e := &endpoint{token: "t1", life: 1 << 62}
			source := wechat.NewCachedTokens(e.fetch)
			e.wantToken(t, source, "t1", 1)
			e.token = "t2"
			time.Sleep(2 * time.Hour)
			e.wantToken(t, source, "t2", 2)
		})
	})
}

func TestTokenCache_OneFetchForAllCallers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &endpoint{token: "t1", life: 2 * time.Hour, takes: time.Second}
		source := wechat.NewCachedTokens(e.fetch)
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				if got, err := source.Token(t.Context()); err != nil || got.Value.Reveal() != "t1" {
					t.Errorf("Token = %v, %v, want t1", got, err)
				}
			})
		}
		wg.Wait()
		e.wantToken(t, source, "t1", 1)
	})
}

func TestTokenCache_CanceledCallerDoesNotCancelTheFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &endpoint{token: "t1", life: 2 * time.Hour, takes: time.Second}
		source := wechat.NewCachedTokens(e.fetch)
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if _, err := source.Token(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Token = %v, want the error of the context", err)
		}
		e.wantToken(t, source, "t1", 1)
	})
}

func TestTokenCache_RefusalsLeadToOneFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &endpoint{token: "t1", life: 2 * time.Hour}
		source := wechat.NewCachedTokens(e.fetch)
		first := e.wantToken(t, source, "t1", 1)
		time.Sleep(time.Minute)
		e.token = "t2"
		for range 100 {
			source.Reject(t.Context(), first, 40001)
		}
		second := e.wantToken(t, source, "t2", 2)
		time.Sleep(time.Minute)
		source.Reject(t.Context(), first, 40001) // not the current token
		e.wantToken(t, source, "t2", 2)
		source.Reject(t.Context(), second, 40001)
		e.token = "t3"
		e.wantToken(t, source, "t3", 3)
	})
}

func TestTokenCache_SpuriousRefusalsCauseFewFetches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &endpoint{token: "t1", life: 2 * time.Hour}
		source := wechat.NewCachedTokens(e.fetch)
		token := e.wantToken(t, source, "t1", 1)
		for range 1000 { // 100 s
			source.Reject(t.Context(), token, 40001)
			if _, err := source.Token(t.Context()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(100 * time.Millisecond)
		}
		if e.fetches > 14 { // the first one, then after 0, 1, 3, 7 and 15 s, then every 10 s
			t.Errorf("%d fetches in 100 s of refusals, want at most 14", e.fetches)
		}
	})
}

func TestTokenCache_FailureIsCachedForASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &endpoint{err: &wechat.Error{Class: wechat.ClassApp, Code: 40125, Message: "invalid appsecret"}}
		source := wechat.NewCachedTokens(e.fetch)
		for range 10 {
			e.wantError(t, source, 1)
		}
		time.Sleep(time.Second)
		e.wantError(t, source, 2)
		time.Sleep(time.Second)
		e.err, e.token, e.life = nil, "t1", 2*time.Hour
		e.wantToken(t, source, "t1", 3)
	})
}

func TestTokenCache_FailedRefreshKeepsTheValidToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &endpoint{token: "t1", life: 2 * time.Hour}
		source := wechat.NewCachedTokens(e.fetch)
		e.wantToken(t, source, "t1", 1)
		e.err = &wechat.Error{Class: wechat.ClassRetry, Code: -1, Message: "busy"}
		time.Sleep(116 * time.Minute)
		e.wantToken(t, source, "t1", 2)
		e.wantToken(t, source, "t1", 2)
		time.Sleep(4 * time.Minute) // the token expires
		e.wantError(t, source, 3)
	})
}

func TestTokenCache_EmptyTokenIsAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, err := wechat.NewCachedTokens((&endpoint{life: time.Hour}).fetch).Token(t.Context())
		if failure, ok := errors.AsType[*wechat.Error](err); !ok || failure.Class != wechat.ClassRetry {
			t.Errorf("Token = %v, want an error of class retry", err)
		}
	})
}

func TestStaticToken(t *testing.T) {
	source := token()
	want, err := source.Token(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	source.Reject(t.Context(), want, 40001)
	if got, err := source.Token(t.Context()); err != nil || got != want || got.Value.Reveal() != "token-1" {
		t.Errorf("Token after Reject = %v, %v, want the same", got, err)
	}
}

func TestStableToken_Request(t *testing.T) {
	server := serve(t, answer(`{"access_token":"T","expires_in":7200}`))
	source := newClient(t, server.URL).StableToken("wx00", secret.New("hunter2"))
	for range 2 {
		if got, err := source.Token(t.Context()); err != nil || got.Value.Reveal() != "T" || got.Param != "access_token" {
			t.Fatalf("Token = %v, %v, want T", got, err)
		}
	}
	want := []call{{"POST", "/cgi-bin/stable_token", "", `{"appid":"wx00","force_refresh":false,"grant_type":"client_credential","secret":"hunter2"}`}}
	if diff := cmp.Diff(want, server.seen()); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
}

func TestStableToken_Errors(t *testing.T) {
	const rid = "68aeab00-21ea7900-3a442400"
	tests := []struct {
		name, answer string
		want         wechat.Error
	}{
		{"WrongSecret", `{"errcode":40001,"errmsg":"invalid credential rid: ` + rid + `"}`,
			wechat.Error{Class: wechat.ClassApp, Code: 40001, Message: "token endpoint: invalid credential", RID: rid}},
		{"SecretEchoed", `{"errcode":40125,"errmsg":"invalid appsecret hunter2"}`,
			wechat.Error{Class: wechat.ClassApp, Code: 40125, Message: "token endpoint: invalid appsecret …"}},
		{"AppID", `{"errcode":40013}`, wechat.Error{Class: wechat.ClassApp, Code: 40013, Message: "token endpoint: invalid appid"}},
		{"IP", `{"errcode":40164,"errmsg":"invalid ip 192.0.2.1, not in whitelist"}`,
			wechat.Error{Class: wechat.ClassApp, Code: 40164, Message: "token endpoint: invalid ip 192.0.2.1, not in whitelist"}},
		{"IPAwaits", `{"errcode":89503,"errmsg":"x"}`, wechat.Error{Class: wechat.ClassApp, Code: 89503, Message: "token endpoint: x"}},
		{"Unknown", `{"errcode":12345,"errmsg":"x"}`, wechat.Error{Class: wechat.ClassApp, Code: 12345, Message: "token endpoint: x"}},
		{"Busy", `{"errcode":-1,"errmsg":"x"}`, wechat.Error{Class: wechat.ClassRetry, Code: -1, Message: "token endpoint: x"}},
		{"DayQuota", `{"errcode":45009,"errmsg":"x"}`, wechat.Error{Class: wechat.ClassQuota, Code: 45009, Message: "token endpoint: x"}},
		{"MinuteQuota", `{"errcode":45011,"errmsg":"x"}`, wechat.Error{Class: wechat.ClassRate, Code: 45011, Message: "token endpoint: x"}},
		{"HTML", `<html>`, wechat.Error{Class: wechat.ClassRetry, Message: "token endpoint: answer is not JSON"}},
		{"NoToken", `{"expires_in":7200}`, wechat.Error{Class: wechat.ClassRetry, Message: "token endpoint: no token in the answer"}},
		{"EmptyToken", `{"access_token":"","expires_in":7200}`, wechat.Error{Class: wechat.ClassRetry, Message: "token endpoint: no token in the answer"}},
		{"TokenOfWrongType", `{"access_token":{},"expires_in":7200}`, wechat.Error{Class: wechat.ClassRetry, Message: "token endpoint: no token in the answer"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			server := serve(t, answer(tt.answer))
			_, err := newClient(t, server.URL).StableToken("wx00", secret.New("hunter2")).Token(t.Context())
			got, _ := errors.AsType[*wechat.Error](err)
			if diff := cmp.Diff(&tt.want, got); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
		})
	}
	t.Run("Status", func(t *testing.T) {
		server := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) })
		_, err := newClient(t, server.URL).StableToken("wx00", secret.New("hunter2")).Token(t.Context())
		if err == nil || err.Error() != "wechat: token endpoint: HTTP 503" {
			t.Errorf("Token = %v, want HTTP 503", err)
		}
	})
	t.Run("ConnectionClosed", func(t *testing.T) {
		server := serve(t, hangUp)
		_, err := newClient(t, server.URL).StableToken("wx00", secret.New("hunter2")).Token(t.Context())
		if err == nil || err.Error() != "wechat: token endpoint: no answer: connection closed" {
			t.Errorf("Token = %v, want connection closed", err)
		}
	})
}

func TestStableToken_LifetimeOfAnyType(t *testing.T) {
	for _, life := range []string{`7200`, `"7200"`, `-1`, `0`, `null`, `{}`, `1e99`, `9223372036854775807`} {
		server := serve(t, answer(`{"expires_in":`+life+`,"access_token":"T"}`))
		source := newClient(t, server.URL).StableToken("wx00", secret.New("hunter2"))
		for range 2 {
			if got, err := source.Token(t.Context()); err != nil || got.Value.Reveal() != "T" {
				t.Errorf("Token with expires_in %s = %v, %v, want T", life, got, err)
			}
		}
		if n := len(server.seen()); n != 1 {
			t.Errorf("%d fetches with expires_in %s, want 1", n, life)
		}
	}
}

// Close cancels a fetch that no caller waits for, and leaves no goroutine (see TestMain).
func TestClose_CancelsFetchesInFlight(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	server := serve(t, func(http.ResponseWriter, *http.Request) {
		close(arrived)
		<-release
	})
	t.Cleanup(func() { close(release) })
	client := newClient(t, server.URL)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, err := client.StableToken("wx00", secret.New("hunter2")).Token(ctx)
		done <- err
	}()
	<-arrived
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Token = %v, want the error of the context", err)
	}
	client.Close()
}

func TestGetOpenData_WithStableToken_ReplacesRefusedToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{answers: []string{
			`{"access_token":"T1","expires_in":7200}`, list(entry("a", `{"data":{}}`)),
			`{"errcode":42001,"errmsg":"access_token expired"}`, `{"access_token":"T2","expires_in":7200}`, list(entry("b", `{"data":{}}`)),
		}}
		client := offline(t, n)
		source := client.StableToken("wx00", secret.New("hunter2"))
		for _, id := range []string{"a", "b"} {
			if got := client.GetOpenData(t.Context(), source, request(id)); got[0].Err != nil {
				t.Errorf("outcome of %s = %v, want data", id, got[0].Err)
			}
			time.Sleep(time.Minute)
		}
		if len(n.bodies) != 5 {
			t.Errorf("%d requests, want 5", len(n.bodies))
		}
		client.Close()
	})
}
