package wechattest

import (
	"encoding/base64"
	"encoding/binary"
	"sync"
	"time"
)

// maxOverlap is how long an old token stays good beside its successor. stable_token replaces one that long before its
// end (developers.weixin.qq.com/doc/service/api/base/api_getstableaccesstoken); the older endpoints replace one at every
// call. Where tokens live shorter than the usual two hours, so does their overlap.
const maxOverlap = 5 * time.Minute

// family is a kind of token. Tokens of one family do not touch those of another.
type family uint8

const (
	familyStatic family = iota // and of stable_token
	familyLegacy
	familyCloudbase
	familyComponent
	familyAuthorizer
)

// takenAs reports whether getopendata takes a token of this family under this name.
func (f family) takenAs(param string) bool {
	switch f {
	case familyCloudbase:
		return param == paramCloudbase
	case familyComponent:
		return false
	default:
		return param == paramAccess
	}
}

// StaticToken returns a token that getopendata always accepts for an app. It hangs on the seed and the appid alone.
func (s *Simulator) StaticToken(appID string) string { return s.codec.token(appID, 0) }

// RevokeTokens makes every token that was given to an app worthless, as another program with force_refresh does. The
// next call of an endpoint brings a new one. Static tokens stay good.
func (s *Simulator) RevokeTokens(appID string) { s.tokens.revoke(appID) }

// tokens knows who holds which access token.
type tokens struct {
	codec        *codec
	ttl, overlap time.Duration

	mu     sync.RWMutex
	grants map[string]grant  // by token, also ended ones; guarded by mu
	latest map[holder]latest // guarded by mu
}

// grant is what a token stands for.
type grant struct {
	appID   string
	app     appHash
	family  family
	expires time.Time // zero for a static token
	revoked bool
	// replaced is when another token takes its place for good; zero if nothing but its own end does.
	replaced time.Time
}

// holder is an app with one family of its tokens.
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
	case g.revoked, !g.replaced.IsZero() && !now.Before(g.replaced):
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
	l := t.latest[holder{familyStatic, appID}]
	if !l.expires.After(now.Add(t.overlap)) {
		l = t.issue(holder{familyStatic, appID}, now, t.ttl)
	}
	return l.token, l.expires.Sub(now)
}

// fresh returns a new token, as the older endpoints do at every call; the one before stays good for the overlap.
func (t *tokens) fresh(h holder, now time.Time, ttl time.Duration) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if old, ok := t.grants[t.latest[h].token]; ok {
		old.replaced = now.Add(t.overlap)
		t.grants[t.latest[h].token] = old
	}
	return t.issue(h, now, ttl).token
}

// issue makes a holder's next token. t.mu is held.
func (t *tokens) issue(h holder, now time.Time, ttl time.Duration) latest {
	l := t.latest[h]
	l.serial++
	l.token, l.expires = t.codec.token(h.appID, uint32(h.family)<<24|l.serial), now.Add(ttl)
	t.latest[h] = l
	t.grants[l.token] = grant{appID: h.appID, app: t.codec.appHash(h.appID), family: h.family, expires: l.expires}
	return l
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
	for h, l := range t.latest {
		if h.appID == appID {
			t.latest[h] = latest{serial: l.serial}
		}
	}
}

// A token is "80_" and the base64url form of 64 bytes that authenticate what follows under the seed, a serial number
// (0 for the static token; its first byte is the family) and the appid. The length is about that of real ones.
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
