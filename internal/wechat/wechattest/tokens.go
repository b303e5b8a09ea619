package wechattest

import (
	"encoding/base64"
	"encoding/binary"
	"sync"
	"time"
)

// maxOverlap is how long an old token stays valid next to its successor. stable_token replaces a
// token that long before its expiry
// (developers.weixin.qq.com/doc/service/api/base/api_getstableaccesstoken). The older endpoints
// replace a token at every call. If tokens live shorter than the usual two hours, the overlap is
// shorter too.
const maxOverlap = 5 * time.Minute

// family is a kind of token. Tokens of one family do not affect those of another.
type family uint8

const (
	familyStatic family = iota // also the tokens of stable_token
	familyLegacy
	familyCloudbase
	familyComponent
	familyAuthorizer
)

// acceptedAs reports whether getopendata accepts a token of this family in the query parameter
// param.
func (f family) acceptedAs(param string) bool {
	switch f {
	case familyCloudbase:
		return param == paramCloudbase
	case familyComponent:
		return false
	default:
		return param == paramAccess
	}
}

// StaticToken returns a token that getopendata always accepts for an app. It depends only on the
// seed and the appid.
func (s *Simulator) StaticToken(appID string) string { return s.codec.token(appID, 0) }

// RevokeTokens invalidates every token that was issued to an app, as another program with
// force_refresh does. The next call of an endpoint returns a new token. Static tokens stay
// valid.
func (s *Simulator) RevokeTokens(appID string) { s.tokens.revoke(appID) }

// tokens records which app holds which access token.
type tokens struct {
	codec        *codec
	ttl, overlap time.Duration

	mu     sync.RWMutex
	grants map[string]grant  // by token, including expired ones; guarded by mu
	latest map[holder]latest // guarded by mu
}

// grant is what a token stands for.
type grant struct {
	appID   string
	app     appHash
	family  family
	expires time.Time // zero for a static token
	revoked bool
	// replaced is when the token becomes invalid because another token has replaced it; zero if
	// it is not replaced.
	replaced time.Time
}

// holder is an app and a family of its tokens.
type holder struct {
	family family
	appID  string
}

// latest is the newest token of a holder.
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
		latest:  make(map[holder]latest),
	}
}

// check returns the grant of a token, or the errcode of a request with that token.
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
	case g.revoked, !g.replaced.IsZero() && !now.Before(g.replaced):
		return grant{}, codeInvalidToken
	case !g.expires.IsZero() && !now.Before(g.expires):
		return grant{}, codeTokenExpired
	}
	return g, 0
}

// stable returns the app's current token as stable_token does, and its remaining lifetime. It
// returns the previous token unless that is about to expire or force is set.
func (t *tokens) stable(appID string, now time.Time, force bool) (string, time.Duration) {
	if force {
		t.revoke(appID)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.latest[holder{familyStatic, appID}]
	if !l.expires.After(now.Add(t.overlap)) {
		l = t.issueLocked(holder{familyStatic, appID}, now, t.ttl)
	}
	return l.token, l.expires.Sub(now)
}

// fresh returns a new token, as the older endpoints do at every call. The previous token stays
// valid for the overlap.
func (t *tokens) fresh(h holder, now time.Time, ttl time.Duration) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if old, ok := t.grants[t.latest[h].token]; ok {
		old.replaced = now.Add(t.overlap)
		t.grants[t.latest[h].token] = old
	}
	return t.issueLocked(h, now, ttl).token
}

// issueLocked creates a holder's next token.
func (t *tokens) issueLocked(h holder, now time.Time, ttl time.Duration) latest {
	l := t.latest[h]
	l.serial++
	l.token, l.expires = t.codec.token(h.appID, uint32(h.family)<<24|l.serial), now.Add(ttl)
	t.latest[h] = l
	t.grants[l.token] = grant{appID: h.appID, app: t.codec.appHash(h.appID), family: h.family, expires: l.expires}
	return l
}

// revoke invalidates all tokens issued to an app.
func (t *tokens) revoke(appID string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for token, g := range t.grants {
		if g.appID == appID && !g.expires.IsZero() {
			g.revoked = true
			t.grants[token] = g
		}
	}
	for h, l := range t.latest {
		if h.appID == appID {
			t.latest[h] = latest{serial: l.serial}
		}
	}
}

// A token is "80_" and, in base64url, 64 bytes that authenticate the rest under the seed, a
// serial number and the appid. The serial number is 0 for the static token; its first byte is
// the family. The length is about that of real tokens.
const (
	tokenPrefix = "80_"
	tokenTagLen = 64
)

// token encodes the token of an app and a serial number.
func (c *codec) token(appID string, serial uint32) string {
	facts := append(binary.BigEndian.AppendUint32(nil, serial), appID...)
	front, back := c.sum(hashToken, facts), c.sum(hashTokenTail, facts)
	raw := append(append(front[:], back[:]...), facts...)
	return tokenPrefix + base64.RawURLEncoding.EncodeToString(raw)
}

// readToken decodes a token. It returns false if the token was not encoded with this seed.
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
