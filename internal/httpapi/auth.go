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

// Scope is a right of a key.
type Scope string

// The scopes.
const (
	ScopeResolve Scope = "resolve" // hand in cloudIDs
	ScopeRead    Scope = "read"    // see records and deliveries
	ScopeErase   Scope = "erase"   // erase a person
	ScopeAdmin   Scope = "admin"   // replay deliveries, test webhooks, change the queues by hand
)

// Scopes are all of them.
var Scopes = []Scope{ScopeResolve, ScopeRead, ScopeErase, ScopeAdmin}

// Key lets a client in. Only its hash is kept.
type Key struct {
	Name string // for the log
	// NotAfter is the last moment of the key; zero = it has no end. After it the key is one that nobody knows.
	NotAfter time.Time

	hash   [sha256.Size]byte
	scopes []Scope
	apps   []string // the only apps it reaches; empty = all
}

// NewKey makes a key of its secret. It reaches the apps that are given, or all if none is.
func NewKey(name string, text secret.Text, scopes []Scope, apps []string) Key {
	return Key{Name: name, hash: sha256.Sum256([]byte(text.Reveal())), scopes: scopes, apps: apps}
}

// ended reports whether the time of the key is over.
func (k *Key) ended(now time.Time) bool { return !k.NotAfter.IsZero() && now.After(k.NotAfter) }

// has reports whether the key has a scope, for whichever app.
func (k *Key) has(scope Scope) bool { return slices.Contains(k.scopes, scope) }

// reaches reports whether the key may do what the scope says to an app; an empty appID stands for all apps.
func (k *Key) reaches(scope Scope, appID string) bool {
	if !k.has(scope) {
		return false
	}
	return len(k.apps) == 0 || slices.Contains(k.apps, appID)
}

// limited reports whether the key reaches some apps alone.
func (k *Key) limited() bool { return len(k.apps) > 0 }

// everything is the key of those who come where no keys are demanded.
var everything = Key{Name: "nobody", scopes: Scopes}

type keyOf struct{}

// caller is the key that a request came with.
func caller(ctx context.Context) *Key {
	if key, ok := ctx.Value(keyOf{}).(*Key); ok {
		return key
	}
	return &Key{} // may do nothing
}

// permit reports whether the caller may do what the scope says to an app.
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

// authenticator lets in who has a key.
type authenticator struct {
	keys    []Key
	failed  *limiter // of wrong keys, by address
	proxies proxies
	log     *slog.Logger
}

// wrap puts the authenticator before next.
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

// open are the paths that need no key: WeChat signs its pushes, and the description says nothing of anybody, nor do the
// style sheet and the script of the status page.
func open(path string) bool {
	return pushed(path) || path == "/openapi.yaml" || path == "/openapi.json" ||
		strings.HasPrefix(path, "/status/")
}

// pushed are the paths of WeChat's pushes.
func pushed(path string) bool { return strings.HasPrefix(path, "/v1/wechat/components/") }

// browsed are the paths that people look at. Their browsers ask for a key, if they are told to.
func browsed(path string) bool {
	return path == "/" || path == "/monitoring" || strings.HasPrefix(path, "/monitoring/")
}

// authenticate looks the key up before anything else. Where it comes from matters for a wrong one alone: behind a proxy that
// is nobody's own address, and one forgotten client must not keep out the others.
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
	default: // no guess: a client that has missed the end of its key
		a.log.Warn("a key has ended, and is still sent", "key", key.Name, "not_after", key.NotAfter)
	}
	return nil, noKey(browsed(r.URL.Path))
}

// noKey is the answer to a request without a right key. A browser that is to ask for one must be challenged with Basic.
func noKey(browser bool) *problem {
	p, challenge := newProblem(http.StatusUnauthorized, "a key is needed: Authorization: Bearer KEY"), `Bearer realm="cloudidq"`
	if browser {
		p.Detail = "a key is needed: any user name, and the key as the password"
		challenge = `Basic realm="cloudidq", charset="UTF-8"`
	}
	p.header = http.Header{"Www-Authenticate": {challenge}}
	return p
}

// bearer is the key of a request: Authorization: Bearer, or the password of Basic, as browsers send it.
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

// find compares with every key, in a time that does not tell which one is near. Of those with one
// secret it is the last that has not ended.
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
