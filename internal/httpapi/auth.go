package httpapi

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"cloudidq/internal/secret"
)

// Scope is a permission that a key grants.
type Scope string

// The scopes.
const (
	ScopeResolve Scope = "resolve" // submit cloudIDs
	ScopeRead    Scope = "read"    // read records and deliveries
	ScopeErase   Scope = "erase"   // erase a user's records
	ScopeAdmin   Scope = "admin"   // replay deliveries, test webhooks, manage the queues
)

// Scopes lists all scopes.
var Scopes = []Scope{ScopeResolve, ScopeRead, ScopeErase, ScopeAdmin}

// Key authenticates a client. It holds only the hash of the secret.
type Key struct {
	Name string // identifies the key in the log
	// NotAfter is the time after which the server treats the key as unknown. The zero value
	// means that the key does not expire.
	NotAfter time.Time

	hash   [sha256.Size]byte
	scopes []Scope
	apps   []string // the apps that the key may use; empty = all
}

// NewKey returns a key for the secret text. The key may use the given apps, or all apps if apps
// is empty.
func NewKey(name string, text secret.Text, scopes []Scope, apps []string) Key {
	return Key{Name: name, hash: sha256.Sum256([]byte(text.Reveal())), scopes: scopes, apps: apps}
}

// expired reports whether the key has expired.
func (k *Key) expired(now time.Time) bool { return !k.NotAfter.IsZero() && now.After(k.NotAfter) }

// hasScope reports whether the key has a scope, for any app.
func (k *Key) hasScope(scope Scope) bool { return slices.Contains(k.scopes, scope) }

// allows reports whether the key has a scope and may use an app. An empty appID means all apps.
func (k *Key) allows(scope Scope, appID string) bool {
	if !k.hasScope(scope) {
		return false
	}
	return len(k.apps) == 0 || slices.Contains(k.apps, appID)
}

// limited reports whether the key may use only some apps.
func (k *Key) limited() bool { return len(k.apps) > 0 }

// anyKey is the key of every caller when the configuration has no keys.
var anyKey = Key{Name: "nobody", scopes: Scopes}

// callerKey is the context key under which wrap stores the caller's [Key].
type callerKey struct{}

// caller returns the key that the request of ctx was authenticated with.
func caller(ctx context.Context) *Key {
	if key, ok := ctx.Value(callerKey{}).(*Key); ok {
		return key
	}
	return &Key{} // a key without scopes
}

// permit returns nil if the caller has the scope for an app, and a 403 problem otherwise. An
// empty appID means all apps.
func permit(ctx context.Context, scope Scope, appID string) error {
	key := caller(ctx)
	switch {
	case !key.hasScope(scope):
		return newProblem(http.StatusForbidden, "the key does not have scope "+string(scope))
	case !key.allows(scope, appID) && appID == "":
		return newProblem(http.StatusForbidden, "a key for all apps is required")
	case !key.allows(scope, appID):
		return newProblem(http.StatusForbidden, "the key is not valid for this app")
	default:
		return nil
	}
}

// authenticator admits requests that carry a valid key.
type authenticator struct {
	keys    []Key
	failed  *keyLimiter // limits wrong keys per address
	proxies proxies
	log     *slog.Logger
}

// wrap returns a handler that authenticates a request before it calls next.
func (a *authenticator) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if isPublic(r.URL.Path) {
			next.ServeHTTP(w, r)
			return
		}
		key, p := a.authenticate(r)
		if p != nil {
			writeProblem(w, p)
			return
		}
		markAuthenticated(r.Context())
		recordKey(r.Context(), key.Name)
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), callerKey{}, key)))
	})
}

// isPublic reports whether a path needs no key. WeChat signs its pushes. The API description and
// the status page's style sheet and script contain no data.
func isPublic(path string) bool {
	return isPush(path) || path == "/openapi.yaml" || path == "/openapi.json" ||
		strings.HasPrefix(path, "/status/")
}

// isPush reports whether a path receives WeChat's pushes.
func isPush(path string) bool { return strings.HasPrefix(path, "/v1/wechat/components/") }

// isPage reports whether a path is a page for browsers. A browser prompts for a key only if the
// response challenges it with Basic.
func isPage(path string) bool {
	return path == "/" || path == "/monitoring" || strings.HasPrefix(path, "/monitoring/")
}

// authenticate returns the key of a request, or the problem to answer with.
//
// It looks up the key first. The client's address matters only if the key is wrong. Several
// clients can share the address of a proxy, and one client with an outdated key must not lock
// out the others.
func (a *authenticator) authenticate(r *http.Request) (*Key, *problem) {
	if len(a.keys) == 0 {
		return &anyKey, nil
	}
	token, given := bearer(r)
	now := time.Now()
	key := a.find(token, now)
	switch {
	case !given:
	case key == nil:
		if !a.failed.allow(a.proxies.clientOf(r)) {
			return nil, newProblem(http.StatusTooManyRequests,
				"the key is wrong, and this address has sent too many wrong keys; "+
					"a valid key is accepted at once").retryAfter("60")
		}
	case !key.expired(now):
		return key, nil
	default: // not a guess: the client still uses an expired key, so it does not count as wrong
		a.log.Warn("expired key used", "key", key.Name, "not_after", key.NotAfter)
	}
	return nil, unauthorized(isPage(r.URL.Path))
}

// unauthorized returns the 401 problem for a request without a valid key. A browser prompts for a
// key only if the challenge is Basic.
func unauthorized(browser bool) *problem {
	p := newProblem(http.StatusUnauthorized, "a key is required: Authorization: Bearer KEY")
	challenge := `Bearer realm="cloudidq"`
	if browser {
		p.Detail = "a key is required: any user name, with the key as the password"
		challenge = `Basic realm="cloudidq", charset="UTF-8"`
	}
	p.header = http.Header{"Www-Authenticate": {challenge}}
	return p
}

// bearer returns the key of a request, and reports whether the request has one. The key is the
// Bearer token, or the password of Basic, which browsers send.
func bearer(r *http.Request) (string, bool) {
	if _, password, ok := r.BasicAuth(); ok {
		return password, true
	}
	scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return "", false
	}
	return strings.TrimSpace(token), true
}

// find returns the key whose secret is token, or nil. It compares token with every key in
// constant time, so that the response time reveals nothing about the keys. If several keys have
// the same secret, find prefers the last one that has not expired.
func (a *authenticator) find(token string, now time.Time) *Key {
	hash := sha256.Sum256([]byte(token))
	var found *Key
	for i := range a.keys {
		key := &a.keys[i]
		if subtle.ConstantTimeCompare(hash[:], key.hash[:]) == 1 && (found == nil || !key.expired(now)) {
			found = key
		}
	}
	return found
}
