package wechat_test

import (
	"errors"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"cloudidq/internal/secret"
	"cloudidq/internal/wechat"
)

func TestLegacyToken_Request(t *testing.T) {
	server := serve(t, answer(`{"access_token":"T","expires_in":7200}`))
	source := newClient(t, server.URL).LegacyToken("wx00", secret.New("hunter&2"))
	for range 2 {
		if got, err := source.Token(t.Context()); err != nil || got.Value.Reveal() != "T" || got.Param != "access_token" {
			t.Fatalf("Token = %v, %v, want T", got, err)
		}
	}
	want := []call{{"GET", "/cgi-bin/token", "grant_type=client_credential&appid=wx00&secret=hunter%262", ""}}
	if diff := cmp.Diff(want, server.seen()); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
}

// The endpoint allows 2,000 calls a day, and each call invalidates the previous token.
func TestLegacyToken_RefusalsFetchOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &countingEndpoint{token: numbered}
		client, err := wechat.New(wechat.Config{BaseURL: "https://api.weixin.qq.com"})
		if err != nil {
			t.Fatal(err)
		}
		client.SetTransport(e)
		defer client.Close()
		source := client.LegacyToken("wx1", secret.New("AppSecret"))
		for range 600 {
			token, err := source.Token(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			source.Reject(t.Context(), token, 40001)
			time.Sleep(time.Second)
		}
		if n := e.calls.Load(); n > 11 {
			t.Errorf("%d fetches in 10 minutes of refusals, want one a minute", n)
		}
	})
}

// Each call invalidates the token of all processes, so all processes together fetch once a minute.
func TestLegacyToken_RefusalsFetchOnceAMinuteInAllProcesses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, cache := &countingEndpoint{token: numbered}, newMemoryTokens()
		var all sync.WaitGroup
		for i := range 10 {
			client, _ := worker(t, cache, e)
			source := client.LegacyToken("wx1", secret.New("AppSecret"))
			all.Go(func() {
				time.Sleep(time.Duration(i) * 11 * time.Second) // the processes start at different times
				rejectFor(t, source, 42001, 8*time.Minute)
			})
		}
		all.Wait()
		if n := e.calls.Load(); n > 11 {
			t.Errorf("%d fetches in 10 minutes of refusals over 10 processes, want one a minute", n)
		}
	})
}

func TestRemoteToken_Request(t *testing.T) {
	var header http.Header
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		header = r.Header
		answer(`{"access_token":"T","expires_in":600}`)(w, r)
	})
	client := newClient(t, "https://api.weixin.qq.com")
	source, err := client.RemoteToken("wx00", server.URL+"/tokens?app=wx00", secret.New("x-token-auth: let me in"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := source.Token(t.Context()); err != nil || got.Value.Reveal() != "T" || got.Param != "access_token" {
		t.Fatalf("Token = %v, %v, want T", got, err)
	}
	if diff := cmp.Diff([]call{{"GET", "/tokens", "app=wx00", ""}}, server.seen()); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
	if got := header.Get("X-Token-Auth"); got != "let me in" {
		t.Errorf("X-Token-Auth = %q, want the configured value", got)
	}
}

func TestRemoteToken_Errors(t *testing.T) {
	client := newClient(t, "https://api.weixin.qq.com")
	for _, bad := range []string{"", "tokens/wx", "ftp://tokens", "https://", "::"} {
		if _, err := client.RemoteToken("wx00", bad, secret.Text{}); err == nil || strings.Contains(err.Error(), "tokens/wx") {
			t.Errorf("RemoteToken(%q) = %v, want an error without the value", bad, err)
		}
	}
	for _, bad := range []string{"planted", ": planted", "a b: planted", "name:", "name: plan\r\nted"} {
		_, err := client.RemoteToken("wx00", "https://tokens", secret.New(bad))
		if err == nil || strings.Contains(err.Error(), "planted") {
			t.Errorf("RemoteToken(header %q) = %v, want an error without the value", bad, err)
		}
	}
	for name, tt := range map[string]struct {
		status int
		body   string
		want   wechat.Error
	}{
		"Forbidden": {401, "who is let-me-in?", wechat.Error{Class: wechat.ClassApp, Message: "token endpoint: HTTP 401"}},
		"Down":      {503, "", wechat.Error{Class: wechat.ClassRetry, Message: "token endpoint: HTTP 503"}},
		"WeChat's": {200, `{"errcode":40164,"errmsg":"not let-me-in"}`,
			wechat.Error{Class: wechat.ClassApp, Code: 40164, Message: "token endpoint: not …"}},
		"HTML":    {200, "<html>", wechat.Error{Class: wechat.ClassRetry, Message: "token endpoint: answer is not JSON"}},
		"NoToken": {200, "{}", wechat.Error{Class: wechat.ClassRetry, Message: "token endpoint: no token in the answer"}},
	} {
		t.Run(name, func(t *testing.T) {
			server := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(tt.status)
				_, _ = w.Write([]byte(tt.body))
			})
			source, err := client.RemoteToken("wx00", server.URL, secret.New("X-Auth: let-me-in"))
			if err != nil {
				t.Fatal(err)
			}
			_, err = source.Token(t.Context())
			got, _ := errors.AsType[*wechat.Error](err)
			if diff := cmp.Diff(&tt.want, got); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSidecar_SendsNoCredential(t *testing.T) {
	server := serve(t, answer(list(entry("a", `{"data":{}}`))))
	client := newClient(t, server.URL)
	client.GetOpenData(t.Context(), wechat.Sidecar(""), request("a"))
	client.GetOpenData(t.Context(), wechat.Sidecar("wx-of-others"), request("a"))
	var queries []string
	for _, c := range server.seen() {
		queries = append(queries, c.Query)
	}
	if diff := cmp.Diff([]string{"openid=o-1", "from_appid=wx-of-others&openid=o-1"}, queries); diff != "" {
		t.Errorf("queries (-want +got):\n%s", diff)
	}
}

// The side-car's certificate is not valid. Therefore calls through a side-car use http
// even if the base URL has https. All other calls keep the scheme.
func TestSidecar_UsesHTTP(t *testing.T) {
	for name, tt := range map[string]struct {
		source wechat.TokenSource
		scheme string
	}{"Sidecar": {wechat.Sidecar(""), "http"}, "Token": {token(), "https"}} {
		t.Run(name, func(t *testing.T) {
			var to url.URL
			client := newClient(t, "https://api.weixin.qq.com")
			client.SetTransport(roundTrip(func(r *http.Request) (*http.Response, error) {
				to = *r.URL
				return nil, errors.New("enough")
			}))
			client.GetOpenData(t.Context(), tt.source, wechat.Request{AppID: "wx00", Items: []wechat.Item{{CloudID: "a", SendBy: time.Now().Add(50 * time.Millisecond)}}})
			if to.Scheme != tt.scheme || to.Host != "api.weixin.qq.com" {
				t.Errorf("called %s://%s, want %s://api.weixin.qq.com", to.Scheme, to.Host, tt.scheme)
			}
		})
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestSidecar_RouteExplainsRefusedCredential(t *testing.T) {
	passed := func(body string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("x-openapi-seqid", "1")
			answer(body)(w, r)
		}
	}
	const missing, expired = `{"errcode":41001,"errmsg":"access_token missing"}`, `{"errcode":42001,"errmsg":"access_token expired"}`
	for name, tt := range map[string]struct {
		handler http.HandlerFunc
		source  wechat.TokenSource
		want    wechat.Error
	}{
		"SwitchedOff": {answer(missing), wechat.Sidecar(""), wechat.Error{Class: wechat.ClassApp, Code: 41001,
			Message: "access_token missing: the call did not pass the side-car, which is switched off or still starting"}},
		"StillStarting": {passed(missing), wechat.Sidecar(""), wechat.Error{Class: wechat.ClassApp, Code: 41001, Message: "access_token missing"}},
		"OwnToken": {passed(expired), token(), wechat.Error{Class: wechat.ClassApp, Code: 42001,
			Message: "access_token expired: a token was sent through the side-car of cloud hosting; use mode sidecar"}},
		"NotListed": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(502) }, wechat.Sidecar(""),
			wechat.Error{Class: wechat.ClassApp, Message: "HTTP 502"}},
		"NotReady": {passed(`{"errcode":85113,"errmsg":"x"}`), wechat.Sidecar(""), wechat.Error{Class: wechat.ClassApp, Code: 85113, Message: "x"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := newClient(t, serve(t, tt.handler).URL).GetOpenData(t.Context(), tt.source, request("a"))
			if diff := cmp.Diff(&tt.want, got[0].Err); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCloudbaseFile_FollowsTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cloudbase_access_token")
	put := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		source := wechat.CloudbaseFile(path)
		want := func(value, message string) wechat.Token {
			t.Helper()
			got, err := source.Token(t.Context())
			failure, _ := errors.AsType[*wechat.Error](err)
			switch {
			case message != "" && (failure == nil || failure.Message != message || failure.Class != wechat.ClassApp):
				t.Errorf("Token = %v, want %s", err, message)
			case message == "" && (err != nil || got.Value.Reveal() != value || got.Param != "cloudbase_access_token"):
				t.Errorf("Token = %s, %v, want %s", got.Value.Reveal(), err, value)
			}
			return got
		}
		want("", "token file: not found; cloud hosting writes it some time after the start, if cloud call is on")
		put(" \n")
		time.Sleep(time.Second)
		want("", "token file: empty")
		put("two words")
		time.Sleep(time.Second)
		want("", "token file: contains more than a token")
		put("T1\n")
		time.Sleep(time.Second)
		want("T1", "")

		put("T2\n")
		time.Sleep(29 * time.Second)
		want("T1", "")
		time.Sleep(time.Second)
		second := want("T2", "")

		put("T3")
		time.Sleep(2 * time.Second)
		source.Reject(t.Context(), second, 40001)
		third := want("T3", "")
		source.Reject(t.Context(), second, 40001) // not the current token
		source.Reject(t.Context(), third, 40001)
		want("T3", "")

		put(strings.Repeat("x", 65<<10))
		time.Sleep(19 * time.Minute)
		want("T3", "") // the platform may be writing the file
		time.Sleep(2 * time.Minute)
		want("", "token file: too long")
	})
}

func TestQuota(t *testing.T) {
	for name, tt := range map[string]struct {
		body string
		want wechat.Quota
	}{
		"SeparateRateLimit": {`{"errcode":0,"errmsg":"ok","quota":{"daily_limit":1000,"used":3,"remain":997},"rate_limit":{"call_count":500,"refresh_second":60}}`,
			wechat.Quota{DailyLimit: 1000, Used: 3, Remain: 997, Calls: 500, RefreshSeconds: 60}},
		"Inside": {`{"errcode":0,"quota":{"daily_limit":1000,"used":3,"remain":997,"rate_limit":{"call_count":500,"refresh_second":60}}}`,
			wechat.Quota{DailyLimit: 1000, Used: 3, Remain: 997, Calls: 500, RefreshSeconds: 60}},
		"Absent": {`{"errcode":0,"quota":{"daily_limit":1000,"used":0,"remain":1000}}`, wechat.Quota{DailyLimit: 1000, Remain: 1000}},
	} {
		server := serve(t, answer(tt.body))
		got, err := newClient(t, server.URL).Quota(t.Context(), token())
		if err != nil || got != tt.want {
			t.Errorf("%s: Quota = %+v, %v, want %+v", name, got, err, tt.want)
		}
		want := []call{{"POST", "/cgi-bin/openapi/quota/get", "access_token=token-1", `{"cgi_path":"/wxa/getopendata"}`}}
		if diff := cmp.Diff(want, server.seen()); diff != "" {
			t.Errorf("calls (-want +got):\n%s", diff)
		}
	}
	for body, want := range map[string]string{
		`{"errcode":76022,"errmsg":"no token-1"}`: "wechat: errcode 76022 (call)", `{}`: "wechat: answer has an unknown form",
		`{"errcode":0,"quota":7}`: "wechat: answer has an unknown form", `<p>`: "wechat: answer is not JSON",
	} {
		_, err := newClient(t, serve(t, answer(body)).URL).Quota(t.Context(), token())
		if err == nil || err.Error() != want {
			t.Errorf("Quota of %s = %v, want %s", body, err, want)
		}
	}
	if _, err := newClient(t, "http://127.0.0.1:1").Quota(t.Context(), wechat.Sidecar("")); !errors.Is(err, wechat.ErrNoQuota) {
		t.Errorf("Quota of a side-car = %v, want ErrNoQuota", err)
	}
}
