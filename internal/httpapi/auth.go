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

// ended reports whether the key has expired.
func (k *Key) ended(now time.Time) bool { return !k.NotAfter.IsZero() && now.After(k.NotAfter) }

// has reports whether the key has a scope, for any app.
func (k *Key) has(scope Scope) bool { return slices.Contains(k.scopes, scope) }

// reaches reports whether the key has a scope and may use an app. An empty appID means all apps.
func (k *Key) reaches(scope Scope, appID string) bool {
	if !k.has(scope) {
		return false
	}
	return len(k.apps) == 0 || slices.Contains(k.apps, appID)
}

// limited reports whether the key may use only some apps.
func (k *Key) limited() bool { return len(k.apps) > 0 }

// everything is the key of every caller when the configuration has no keys.
var everything = Key{Name: "nobody", scopes: Scopes}

// keyOf is the context key under which wrap stores the caller's [Key].
type keyOf struct{}

// caller returns the key that the request of ctx was authenticated with.
func caller(ctx context.Context) *Key {
	if key, ok := ctx.Value(keyOf{}).(*Key); ok {
		return key
	}
	return &Key{} // a key without scopes
}

// permit returns nil if the caller has the scope for an app, and a 403 problem otherwise. An
// empty appID means all apps.
func permit(ctx context.Context, scope Scope, appID string) error {
	key := caller(ctx)
	switch {
	case !key.has(scope):
		return newProblem(http.StatusForbidden, "the key has no scope "+string(scope))
	case !key.reaches(scope, appID) && appID == "":
		return newProblem(http.StatusForbidden, "a key that reaches all apps is needed")
	case !key.reaches(scope, appID):
		return newProblem(http.StatusForbidden, "the key does not reach this app")
	default:
		return nil
	}
}

// authenticator admits requests that carry a valid key.
type authenticator struct {
	keys    []Key
	failed  *limiter // limits wrong keys per address
	proxies proxies
	log     *slog.Logger
}

// wrap returns a handler that authenticates a request before it calls next.
func (a *authenticator) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if open(r.URL.Path) {
			next.ServeHTTP(w, r)
			return
		}
		key, p := a.authenticate(r)
		if p != nil {
			write(w, p)
			return
		}
		vouch(r.Context())
		noteKey(r.Context(), key.Name)
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), keyOf{}, key)))
	})
}

// open reports whether a path needs no key. WeChat signs its pushes. The API description and the
// status page's style sheet and script contain no data.
func open(path string) bool {
	return pushed(path) || path == "/openapi.yaml" || path == "/openapi.json" ||
		strings.HasPrefix(path, "/status/")
}

// pushed reports whether a path receives WeChat's pushes.
func pushed(path string) bool { return strings.HasPrefix(path, "/v1/wechat/components/") }

// browsed reports whether a path is a page for browsers. A browser prompts for a key only if the
// response challenges it with Basic.
func browsed(path string) bool {
	return path == "/" || path == "/monitoring" || strings.HasPrefix(path, "/monitoring/")
}

// authenticate returns the key of a request, or the problem to answer with.
//
// It looks up the key first. The client's address matters only if the key is wrong. Several
// clients can share the address of a proxy, and one client with an outdated key must not lock
// out the others.
func (a *authenticator) authenticate(r *http.Request) (*Key, *problem) {
	if len(a.keys) == 0 {
		return &everything, nil
	}
	token, given := bearer(r)
	now := time.Now()
	key := a.find(token, now)
	switch {
	case !given:
	case key == nil:
		if !a.failed.wrong(a.proxies.clientOf(r)) {
			return nil, newProblem(http.StatusTooManyRequests, "this key is wrong, as were too many others from this address; a right key is let in at once").retryAfter("60")
		}
	case !key.ended(now):
		return key, nil
	default: // not a guess: the client still uses an expired key, so it does not count as wrong
		a.log.Warn("a key has ended, and is still sent", "key", key.Name, "not_after", key.NotAfter)
	}
	return nil, noKey(browsed(r.URL.Path))
}

// noKey returns the 401 problem for a request without a valid key. A browser prompts for a key
// only if the challenge is Basic.
func noKey(browser bool) *problem {
	p, challenge := newProblem(http.StatusUnauthorized, "a key is needed: Authorization: Bearer KEY"), `Bearer realm="cloudidq"`
	if browser {
		p.Detail = "a key is needed: any user name, and the key as the password"
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
		if subtle.ConstantTimeCompare(hash[:], key.hash[:]) == 1 && (found == nil || !key.ended(now)) {
			found = key
		}
	}
	return found
}
