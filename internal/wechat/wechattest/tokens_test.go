package wechattest_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"cloudidq/internal/wechat/wechattest"
)

// grantAnswer is the answer of stable_token.
type grantAnswer struct {
	AccessToken string `json:"access_token"`
	ExpiresIn   int    `json:"expires_in"`
	ErrCode     int    `json:"errcode"`
}

func (env *testEnv) stableToken(tb testing.TB, body string) grantAnswer {
	tb.Helper()
	a := env.call(tb, http.MethodPost, "/cgi-bin/stable_token", nil, body)
	if a.err != nil || a.status != http.StatusOK || a.form != "application/json; encoding=utf-8" {
		tb.Fatalf("answer %+v, want JSON in WeChat's spelling", a)
	}
	var g grantAnswer
	if err := json.Unmarshal([]byte(a.body), &g); err != nil {
		tb.Fatal(err)
	}
	return g
}

// exchangeCode exchanges a cloudID with a token and returns the errcode.
func (env *testEnv) exchangeCode(tb testing.TB, token string) int {
	tb.Helper()
	tap := env.CloudID(appA, 1, 0, start)
	r, _ := read(tb, env.call(tb, http.MethodPost, "/wxa/getopendata",
		url.Values{"access_token": {token}},
		`{"cloudid_list":["`+tap.CloudID+`"]}`))
	return r.ErrCode
}

const stableTokenBody = `{"grant_type":"client_credential","appid":"` + appA + `","secret":"s"}`

// The endpoint returns the same token until its last five minutes. Then it returns a new token, and
// both are valid until the old one expires.
func TestStableToken_Lifetime(t *testing.T) {
	var passed atomic.Int64
	now := func() time.Time { return start.Add(time.Duration(passed.Load())) }
	env := newEnv(t, wechattest.Config{Now: now})
	pass := func(d time.Duration) { passed.Add(int64(d)) }

	first := env.stableToken(t, stableTokenBody)
	if first.ExpiresIn != 7200 || len(first.AccessToken) < 100 || len(first.AccessToken) > 512 {
		t.Fatalf("stable_token = %+v, want a token of 7200 s", first)
	}
	pass(115*time.Minute - time.Second)
	if again := env.stableToken(t, stableTokenBody); again.AccessToken != first.AccessToken ||
		again.ExpiresIn != 301 {
		t.Errorf("after 114:59: %+v, want the first token with 301 s", again)
	}
	pass(time.Second)
	second := env.stableToken(t, stableTokenBody)
	if second.AccessToken == first.AccessToken || second.ExpiresIn != 7200 {
		t.Errorf("in the last five minutes: %+v, want another token of 7200 s", second)
	}
	if a, b := env.exchangeCode(t, first.AccessToken), env.exchangeCode(t,
		second.AccessToken); a != 0 || b != 0 {
		t.Errorf("codes %d and %d in the overlap, want both tokens valid", a, b)
	}
	pass(5 * time.Minute)
	a, b := env.exchangeCode(t, first.AccessToken), env.exchangeCode(t, second.AccessToken)
	if a != 42001 || b != 0 {
		t.Errorf("codes %d and %d after the overlap, want 42001 and 0", a, b)
	}
	if got := env.Stats(); got.TokenCalls != 3 || got.TokenForced != 0 {
		t.Errorf("stats %+v, want 3 token calls", got)
	}
}

func TestStableToken_Revoked(t *testing.T) {
	env := newEnv(t, wechattest.Config{TokenTTL: time.Minute})
	first := env.stableToken(t, stableTokenBody)
	if first.ExpiresIn != 60 {
		t.Errorf("expires_in %d, want 60", first.ExpiresIn)
	}
	forced := env.stableToken(t, `{"force_refresh":true,`+stableTokenBody[1:])
	if got := env.exchangeCode(t, first.AccessToken); got != 40001 ||
		forced.AccessToken == first.AccessToken {
		t.Errorf("errcode %d after force_refresh, want 40001 and another token", got)
	}
	env.RevokeTokens(appA)
	if got := env.exchangeCode(t, forced.AccessToken); got != 40001 {
		t.Errorf("errcode %d after RevokeTokens, want 40001", got)
	}
	third := env.stableToken(t, stableTokenBody)
	for _, token := range []string{third.AccessToken, env.StaticToken(appA)} {
		if got := env.exchangeCode(t, token); got != 0 {
			t.Errorf("errcode %d, want a valid token", got)
		}
	}
	if got := env.Stats(); got.TokenCalls != 3 || got.TokenForced != 1 {
		t.Errorf("stats %+v, want 3 token calls, one forced", got)
	}
}

func TestStableToken_Refused(t *testing.T) {
	env := newEnv(t, wechattest.Config{Secret: "right"})
	tests := map[string]struct {
		body string
		code int
	}{
		"Right":     {`{"grant_type":"client_credential","appid":"wx1","secret":"right"}`, 0},
		"Wrong":     {`{"grant_type":"client_credential","appid":"wx1","secret":"wrong"}`, 40125},
		"NoSecret":  {`{"grant_type":"client_credential","appid":"wx1"}`, 41004},
		"NoAppID":   {`{"grant_type":"client_credential","secret":"right"}`, 41002},
		"GrantType": {`{"grant_type":"password","appid":"wx1","secret":"right"}`, 40002},
		"NoJSON":    {`grant_type=client_credential`, 47001},
		"Empty":     {``, 44002},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := env.stableToken(t, tt.body); got.ErrCode != tt.code ||
				(got.AccessToken == "") != (tt.code != 0) {
				t.Errorf("stable_token(%s) = %+v, want %d", tt.body, got, tt.code)
			}
		})
	}
	if a := env.call(t, http.MethodGet, "/cgi-bin/stable_token", nil, ""); a.status != http.StatusOK ||
		a.body[:16] != `{"errcode":43002` {
		t.Errorf("GET: %+v, want 43002", a)
	}
}
