package wechattest

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// maxOverlap is how long before its end stable_token replaces a token; old and new are then both good
// (developers.weixin.qq.com/doc/service/api/base/api_getstableaccesstoken). Where tokens live shorter than the usual
// two hours, so does their overlap.
const maxOverlap = 5 * time.Minute

// StaticToken returns a token that getopendata always accepts for an app. It hangs on the seed and the appid alone.
func (s *Simulator) StaticToken(appID string) string { return s.codec.token(appID, 0) }

// RevokeTokens makes every token that stable_token gave to an app worthless, as another program with force_refresh
// does. The next call of stable_token brings a new one. Static tokens stay good.
func (s *Simulator) RevokeTokens(appID string) { s.tokens.revoke(appID) }

// tokens knows who holds which access token.
type tokens struct {
	codec        *codec
	ttl, overlap time.Duration

	mu     sync.RWMutex
	grants map[string]grant  // by token, also ended ones; guarded by mu
	latest map[string]latest // by appid; guarded by mu
}

// grant is what a token stands for.
type grant struct {
	appID   string
	app     appHash
	expires time.Time // zero for a static token
	revoked bool
}

// latest is the newest token of an app.
type latest struct {
	token   string
	expires time.Time
	serial  uint32
}

func newTokens(c *codec, ttl time.Duration) *tokens {
	return &tokens{
		codec:   c,
		ttl:     ttl,
		overlap: min(maxOverlap, ttl/24),
		grants:  make(map[string]grant),
		latest:  make(map[string]latest),
	}
}

// check returns what a token stands for, or the errcode of a request with such a token.
func (t *tokens) check(token string, now time.Time) (grant, int) {
	if token == "" {
		return grant{}, codeTokenMissing
	}
	t.mu.RLock()
	g, known := t.grants[token]
	t.mu.RUnlock()
	if !known {
		appID, serial, ok := t.codec.readToken(token)
		if !ok || serial != 0 {
			return grant{}, codeInvalidToken
		}
		g = grant{appID: appID, app: t.codec.appHash(appID)}
		t.mu.Lock()
		t.grants[token] = g
		t.mu.Unlock()
	}
	switch {
	case g.revoked:
		return grant{}, codeInvalidToken
	case !g.expires.IsZero() && !now.Before(g.expires):
		return grant{}, codeTokenExpired
	}
	return g, 0
}

// stable returns the token that stable_token gives to an app now, and how long it lives: the same one as before unless
// that is about to end or a new one is forced.
func (t *tokens) stable(appID string, now time.Time, force bool) (string, time.Duration) {
	if force {
		t.revoke(appID)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.latest[appID]
	if !l.expires.After(now.Add(t.overlap)) {
		l.serial++
		l.token, l.expires = t.codec.token(appID, l.serial), now.Add(t.ttl)
		t.latest[appID] = l
		t.grants[l.token] = grant{appID: appID, app: t.codec.appHash(appID), expires: l.expires}
	}
	return l.token, l.expires.Sub(now)
}

func (t *tokens) revoke(appID string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for token, g := range t.grants {
		if g.appID == appID && !g.expires.IsZero() {
			g.revoked = true
			t.grants[token] = g
		}
	}
	t.latest[appID] = latest{serial: t.latest[appID].serial}
}

// stableToken answers POST /cgi-bin/stable_token.
func (s *Simulator) stableToken(w http.ResponseWriter, r *http.Request) {
	s.stats.tokenCalls.Add(1)
	now := s.cfg.Now()
	answer, code := s.grantToken(r, now)
	if code != 0 {
		answer = s.appendError(nil, code, now)
	}
	if !wait(r.Context(), s.cfg.Latency) {
		return
	}
	w.Header().Set("Content-Type", "application/json; encoding=utf-8") // WeChat's spelling
	_, _ = w.Write(answer)
}

// grantToken returns the answer to a good request, or the errcode of a bad one.
func (s *Simulator) grantToken(r *http.Request, now time.Time) ([]byte, int) {
	if r.Method != http.MethodPost {
		return nil, codeNeedPost
	}
	body, err := readBody(nil, r)
	if len(body) == 0 {
		return nil, codeEmptyPost
	}
	var ask struct {
		GrantType    string `json:"grant_type"`
		AppID        string `json:"appid"`
		Secret       string `json:"secret"`
		ForceRefresh bool   `json:"force_refresh"`
	}
	if err != nil || json.Unmarshal(body, &ask) != nil {
		return nil, codeDataFormat
	}
	switch {
	case ask.GrantType != "client_credential":
		return nil, codeInvalidGrantType
	case ask.AppID == "":
		return nil, codeAppIDMissing
	case ask.Secret == "":
		return nil, codeSecretMissing
	case s.cfg.Secret != "" && ask.Secret != s.cfg.Secret:
		return nil, codeInvalidSecret
	}
	if ask.ForceRefresh {
		s.stats.tokenForced.Add(1)
	}
	token, life := s.tokens.stable(ask.AppID, now, ask.ForceRefresh)
	answer := []byte(`{"access_token":"` + token + `","expires_in":`)
	answer = strconv.AppendInt(answer, int64((life+time.Second-1)/time.Second), 10)
	return append(answer, '}'), 0
}

// A token is "80_" and the base64url form of 64 bytes that authenticate what follows under the seed, a serial number
// (0 for the static token) and the appid. The length is about that of real ones.
const (
	tokenPrefix = "80_"
	tokenTagLen = 64
)

// token writes the token of an app and a serial number.
func (c *codec) token(appID string, serial uint32) string {
	facts := append(binary.BigEndian.AppendUint32(nil, serial), appID...)
	front, back := c.sum(hashToken, facts), c.sum(hashTokenTail, facts)
	raw := append(append(front[:], back[:]...), facts...)
	return tokenPrefix + base64.RawURLEncoding.EncodeToString(raw)
}

// readToken is the inverse of token. It reports false for what this seed did not write.
func (c *codec) readToken(token string) (appID string, serial uint32, ok bool) {
	if len(token) < len(tokenPrefix) {
		return "", 0, false
	}
	raw, err := c.strict.DecodeString(token[len(tokenPrefix):])
	if err != nil || len(raw) < tokenTagLen+4 {
		return "", 0, false
	}
	serial = binary.BigEndian.Uint32(raw[tokenTagLen:])
	appID = string(raw[tokenTagLen+4:])
	return appID, serial, c.token(appID, serial) == token
}
