package wechat_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"cloudidq/internal/secret"
	"cloudidq/internal/wechat"
)

const (
	componentApp = "wxcomponent"
	merchant     = "wxmerchant"
)

// platformAPI simulates WeChat's API for third-party platforms. Each test sets its state.
type platformAPI struct {
	mu      sync.Mutex // guards the fields below
	calls   []string   // last part of the path and the secret that was sent
	tickets map[string]bool
	refresh map[string]bool // valid refresh tokens
	rotate  string          // returned once instead of the refresh token that was sent
	code    string          // valid once
	refuse  int             // number of calls with a component token to answer with 42001
	tokens  int
}

// RoundTrip implements [http.RoundTripper].
func (p *platformAPI) RoundTrip(r *http.Request) (*http.Response, error) {
	text, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	var sent map[string]string
	if err := json.Unmarshal(text, &sent); err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	call := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
	p.calls = append(p.calls, call)
	return &http.Response{StatusCode: 200, ContentLength: -1, Body: io.NopCloser(strings.NewReader(p.answer(r, call, sent)))}, nil
}

func (p *platformAPI) answer(r *http.Request, call string, sent map[string]string) string {
	if sent["component_appid"] != componentApp {
		return `{"errcode":61011,"errmsg":"invalid component"}`
	}
	p.tokens++
	switch {
	case call == "api_component_token":
		if !p.tickets[sent["component_verify_ticket"]] || sent["component_appsecret"] != "hunter2" {
			return fmt.Sprintf(`{"errcode":61006,"errmsg":"component ticket %s is invalid"}`, sent["component_verify_ticket"])
		}
		return fmt.Sprintf(`{"component_access_token":"C%d","expires_in":7200}`, p.tokens)
	case !strings.HasPrefix(r.URL.RawQuery, "access_token=C"):
		return `{"errcode":61014,"errmsg":"must use component token"}`
	case p.refuse > 0:
		p.refuse--
		return `{"errcode":42001,"errmsg":"access_token expired"}`
	case call == "api_query_auth":
		if sent["authorization_code"] != p.code || p.code == "" {
			return fmt.Sprintf(`{"errcode":61010,"errmsg":"code %s is expired"}`, sent["authorization_code"])
		}
		p.code = ""
		return fmt.Sprintf(`{"authorization_info":{"authorizer_appid":%q,"authorizer_access_token":"A%d","expires_in":7200,`+
			`"authorizer_refresh_token":"R-of-event","func_info":[]}}`, merchant, p.tokens)
	case !p.refresh[sent["authorizer_refresh_token"]]:
		return fmt.Sprintf(`{"errcode":61023,"errmsg":"refresh_token %s is invalid"}`, sent["authorizer_refresh_token"])
	}
	refresh := sent["authorizer_refresh_token"]
	if p.rotate != "" {
		refresh, p.rotate = p.rotate, ""
	}
	return fmt.Sprintf(`{"authorizer_access_token":"A%d","expires_in":7200,"authorizer_refresh_token":%q}`, p.tokens, refresh)
}

// newCalls returns the calls since the last newCalls.
func (p *platformAPI) newCalls() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	calls := strings.Join(p.calls, " ")
	p.calls = nil
	return calls
}

// platform returns the platform of one process.
func platform(t *testing.T, api *platformAPI, cache wechat.TokenCache) *wechat.Platform {
	t.Helper()
	client, err := wechat.New(wechat.Config{BaseURL: "https://api.weixin.qq.com", Tokens: cache})
	if err != nil {
		t.Fatal(err)
	}
	client.SetTransport(api)
	t.Cleanup(client.Close)
	p, err := client.Platform(componentApp, secret.New("hunter2"))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// wantAccess requests a token of the merchant's app. platformAPI starts such tokens with A.
func wantAccess(t *testing.T, source wechat.TokenSource) wechat.Token {
	t.Helper()
	got, err := source.Token(t.Context())
	if err != nil || !strings.HasPrefix(got.Value.Reveal(), "A") || got.Param != "access_token" {
		t.Errorf("Token = %s, %v, want A…", got.Value.Reveal(), err)
	}
	return got
}

func wantRefusal(t *testing.T, source wechat.TokenSource, want wechat.Error) {
	t.Helper()
	_, err := source.Token(t.Context())
	got, ok := errors.AsType[*wechat.Error](err)
	if !ok {
		t.Fatalf("Token = %v, want an Error", err)
	}
	if diff := cmp.Diff(want, *got, cmpopts.EquateErrors()); diff != "" {
		t.Errorf("Token (-want +got):\n%s", diff)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantCalls(t *testing.T, api *platformAPI, want string) {
	t.Helper()
	if got := api.newCalls(); got != want {
		t.Errorf("calls = %q, want %q", got, want)
	}
}

func TestPlatform_FromTicketToTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := &platformAPI{tickets: map[string]bool{"ticket-1": true}, refresh: map[string]bool{"refresh-1": true}}
		cache := newMemoryTokens()
		api1, api2 := platform(t, api, cache), platform(t, api, cache)
		source := api2.Authorizer(merchant, secret.New("refresh-1"))
		wantRefusal(t, source, wechat.Error{Class: wechat.ClassApp,
			Message: "token endpoint: no component_verify_ticket has arrived yet; WeChat pushes one every 10 minutes", Cause: wechat.ErrNoTicket})
		if err := api1.Check(t.Context()); !errors.Is(err, wechat.ErrNoTicket) {
			t.Errorf("Check = %v, want ErrNoTicket", err)
		}
		wantCalls(t, api, "")

		must(t, api1.StoreTicket(t.Context(), secret.New("ticket-1"), time.Now()))
		time.Sleep(time.Second) // the pause after a failed fetch
		wantAccess(t, source)
		wantCalls(t, api, "api_component_token api_authorizer_token")

		// All processes share both tokens.
		wantAccess(t, api1.Authorizer(merchant, secret.New("refresh-1")))
		wantCalls(t, api, "")
		wantAccess(t, api1.Authorizer("wxother", secret.New("refresh-1")))
		wantCalls(t, api, "api_authorizer_token")
	})
}

func TestPlatform_NewestTicketWins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := &platformAPI{tickets: map[string]bool{"new": true}, refresh: map[string]bool{"refresh-1": true}}
		p := platform(t, api, newMemoryTokens())
		now := time.Now()
		must(t, p.StoreTicket(t.Context(), secret.New("new"), now))
		must(t, p.StoreTicket(t.Context(), secret.New("old"), now.Add(-10*time.Minute)))
		must(t, p.StoreTicket(t.Context(), secret.New("replayed"), now))
		wantAccess(t, p.Authorizer(merchant, secret.New("refresh-1")))

		api.tickets = map[string]bool{}
		must(t, p.StoreTicket(t.Context(), secret.New("newer"), now.Add(10*time.Minute)))
		time.Sleep(3 * time.Hour)
		wantRefusal(t, p.Authorizer("wxother", secret.New("refresh-1")), wechat.Error{Class: wechat.ClassApp, Code: 61006,
			Message: "token endpoint: component ticket … is invalid"})
	})
}

func TestPlatform_RefusedComponentTokenIsReplacedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := &platformAPI{tickets: map[string]bool{"ticket-1": true}, refresh: map[string]bool{"refresh-1": true}}
		p := platform(t, api, newMemoryTokens())
		must(t, p.StoreTicket(t.Context(), secret.New("ticket-1"), time.Now()))
		source := p.Authorizer(merchant, secret.New("refresh-1"))
		first := wantAccess(t, source)
		wantCalls(t, api, "api_component_token api_authorizer_token")
		time.Sleep(time.Minute)
		api.refuse = 1
		source.Reject(t.Context(), first, 40001)
		wantAccess(t, source)
		wantCalls(t, api, "api_authorizer_token api_component_token api_authorizer_token")
	})
}

func TestPlatform_EventsAuthorizeAndUnauthorizeAnApp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := &platformAPI{tickets: map[string]bool{"ticket-1": true}, refresh: map[string]bool{"R-of-event": true}, code: "code-1"}
		cache := newMemoryTokens()
		events, workers := platform(t, api, cache), platform(t, api, cache)
		ctx, authorised := t.Context(), time.Now()
		must(t, events.StoreTicket(ctx, secret.New("ticket-1"), authorised))
		if known, err := workers.Authorized(ctx, merchant); known || err != nil {
			t.Errorf("Authorized = %v, %v, want false", known, err)
		}

		must(t, events.Authorize(ctx, merchant, secret.New("code-1"), authorised))
		wantCalls(t, api, "api_component_token api_query_auth")
		if known, err := workers.Authorized(ctx, merchant); !known || err != nil {
			t.Errorf("Authorized = %v, %v, want true", known, err)
		}
		source := workers.Authorizer(merchant, secret.Text{})
		token := wantAccess(t, source) // the token in the answer of api_query_auth
		wantCalls(t, api, "")

		// The event arrives twice. The code is not used again.
		must(t, events.Authorize(ctx, merchant, secret.New("code-1"), authorised))
		wantCalls(t, api, "")

		time.Sleep(time.Minute)
		must(t, events.Unauthorize(ctx, merchant, time.Now()))
		if known, err := workers.Authorized(ctx, merchant); known || err != nil {
			t.Errorf("Authorized = %v, %v, want false again", known, err)
		}
		must(t, events.Authorize(ctx, merchant, secret.New("code-1"), authorised)) // a delayed copy
		// WeChat no longer accepts it
		source.Reject(ctx, token, 40001)
		wantRefusal(t, source, wechat.Error{Class: wechat.ClassApp, Code: 61003,
			Message: "token endpoint: the merchant has withdrawn the authorization"})
		wantCalls(t, api, "")

		time.Sleep(time.Minute)
		api.code = "code-2"
		must(t, events.Authorize(ctx, merchant, secret.New("code-2"), time.Now()))
		must(t, events.Unauthorize(ctx, merchant, authorised.Add(time.Minute))) // a second copy
		wantAccess(t, source)
		wantCalls(t, api, "api_query_auth")
	})
}

func TestPlatform_AuthorizeFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := &platformAPI{tickets: map[string]bool{"ticket-1": true}, code: "code-1"}
		p := platform(t, api, newMemoryTokens())
		ctx := t.Context()
		if err := p.Authorize(ctx, merchant, secret.New("code-1"), time.Now()); err == nil {
			t.Error("Authorize without a ticket succeeded")
		}
		must(t, p.StoreTicket(ctx, secret.New("ticket-1"), time.Now()))
		time.Sleep(time.Second)
		err := p.Authorize(ctx, merchant, secret.New("code-planted"), time.Now())
		if failure, ok := errors.AsType[*wechat.Error](err); !ok || failure.Code != 61010 || strings.Contains(failure.Message, "planted") {
			t.Errorf("Authorize = %#v, want 61010 without the code", err)
		}
		if err := p.Authorize(ctx, "wxother", secret.New("code-1"), time.Now()); err == nil {
			t.Error("Authorize accepted tokens of another app")
		}
		for _, app := range []string{merchant, "wxother"} {
			if known, err := p.Authorized(ctx, app); known || err != nil {
				t.Errorf("Authorized(%s) = %v, %v, want false", app, known, err)
			}
		}
	})
}

func TestAuthorizer_RefreshTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := &platformAPI{tickets: map[string]bool{"ticket-1": true}, refresh: map[string]bool{"refresh-1": true}, rotate: "refresh-2"}
		cache := newMemoryTokens()
		p := platform(t, api, cache)
		must(t, p.StoreTicket(t.Context(), secret.New("ticket-1"), time.Now()))
		source := p.Authorizer(merchant, secret.New("refresh-1"))
		wantAccess(t, source)

		// The answer contained refresh-2, and refresh-1 is no longer valid.
		api.refresh = map[string]bool{"refresh-2": true}
		must(t, p.StoreTicket(t.Context(), secret.New("ticket-1"), time.Now().Add(time.Second)))
		time.Sleep(2 * time.Hour)
		api.newCalls()
		wantAccess(t, source)
		wantCalls(t, api, "api_component_token api_authorizer_token")

		// The merchant has authorised again, and an operator has configured the new refresh token.
		api.refresh = map[string]bool{"refresh-3": true}
		time.Sleep(2 * time.Hour)
		restarted := platform(t, api, cache).Authorizer(merchant, secret.New("refresh-3"))
		wantAccess(t, restarted)
		api.newCalls()
		time.Sleep(2 * time.Hour)
		wantAccess(t, restarted)
		if got := api.newCalls(); strings.Count(got, "api_authorizer_token") != 1 {
			t.Errorf("calls = %q, want only one with a refresh token, refresh-3", got)
		}

		api.refresh = nil
		time.Sleep(2 * time.Hour)
		wantRefusal(t, restarted, wechat.Error{Class: wechat.ClassApp, Code: 61023, Message: "token endpoint: refresh_token … is invalid"})
	})
}

func TestPlatform_CacheIsSealed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := &platformAPI{tickets: map[string]bool{plantedToken: true}, refresh: map[string]bool{"R-of-event": true}, code: "code-1"}
		cache := newMemoryTokens()
		p := platform(t, api, cache)
		must(t, p.StoreTicket(t.Context(), secret.New(plantedToken), time.Now()))
		must(t, p.Authorize(t.Context(), merchant, secret.New("code-1"), time.Now()))
		wantAccess(t, p.Authorizer(merchant, secret.Text{}))
		if len(cache.values) != 4 { // ticket, component token, authorization, authorizer token
			t.Errorf("%d values in the cache, want 4", len(cache.values))
		}
		for key, value := range cache.values {
			for _, planted := range []string{plantedToken, "R-of-event", "hunter2", "expires", "A2"} {
				if strings.Contains(key+string(value), planted) {
					t.Errorf("the value of %s contains %s", key, planted)
				}
			}
		}
	})
}

func TestPlatform_NeedsCacheAndSecret(t *testing.T) {
	client := newClient(t, "https://api.weixin.qq.com")
	if _, err := client.Platform(componentApp, secret.New("hunter2")); err == nil {
		t.Error("Platform without a cache succeeded")
	}
	broken := newMemoryTokens()
	broken.broken = true
	p := platform(t, &platformAPI{}, broken)
	ctx := t.Context()
	if err := p.StoreTicket(ctx, secret.New("t"), time.Now()); err == nil {
		t.Error("StoreTicket without Redis succeeded, so WeChat would not push the ticket again")
	}
	if err := p.Authorize(ctx, merchant, secret.New("c"), time.Now()); err == nil {
		t.Error("Authorize without Redis succeeded")
	}
	if err := p.Unauthorize(ctx, merchant, time.Now()); err == nil {
		t.Error("Unauthorize without Redis succeeded")
	}
	if _, err := p.Authorized(ctx, merchant); err == nil {
		t.Error("Authorized without Redis succeeded")
	}
	wantRefusal(t, p.Authorizer(merchant, secret.Text{}), wechat.Error{Class: wechat.ClassRetry,
		Message: "token endpoint: the authorization cannot be read from Redis"})
}
