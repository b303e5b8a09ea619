package config

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// API is the HTTP server.
type API struct {
	// Listen is host:port. Without keys it must be a loopback address.
	Listen string `yaml:"listen" default:"127.0.0.1:8080"`
	// The certificate of the API, for use without a proxy in front. Without a certificate, the API
	// serves plain HTTP. The files are read again when a client connects, at most every 10 s, so a
	// new certificate does not require a restart. If a new certificate is invalid, the old one
	// stays in use and a message is logged.
	TLS APITLS `yaml:"tls,omitzero"`
	// Keys are the API keys. Without keys, everyone who can reach the address may use the API.
	Keys []APIKey `yaml:"keys,omitempty"`
	// TrustedProxies are the address ranges of the proxies in front of the API, such as 10.0.0.0/8.
	// For a connection from such a proxy, the client's address is the last address in
	// X-Forwarded-For or Forwarded that does not belong to a trusted proxy. For other connections,
	// it is the address of the connection.
	TrustedProxies []string `yaml:"trusted_proxies,omitempty"`
	// CommitLinger is how long a request waits for other requests that share its task. 0s to 1s.
	CommitLinger time.Duration `yaml:"commit_linger" default:"2ms" min:"0s" max:"1s"`
	// MaxPending is the maximum number of tasks that wait in a queue, including scheduled tasks and
	// retries. Above it, requests are rejected with 503 and backfills wait. 1 to 10000000.
	MaxPending int `yaml:"max_pending" default:"100000" min:"1" max:"10000000"`
}

// APITLS is the certificate of the API.
type APITLS struct {
	// Cert is the certificate in PEM, followed by the intermediate certificates, if any. Given as
	// env:NAME, file:PATH or the text itself.
	Cert Secret `yaml:"cert,omitzero"`
	// Key is the private key of cert, in PEM and without a passphrase. Given as env:NAME, file:PATH
	// or the text itself.
	Key Secret `yaml:"key,omitzero"`
	// ClientCA are CA certificates in PEM. If set, a client needs a certificate issued by one of
	// these CAs, in addition to an API key. Given as env:NAME, file:PATH or the text itself.
	ClientCA Secret `yaml:"client_ca,omitzero"`
}

// APIKey grants access to the API.
type APIKey struct {
	// Name identifies the key in the log.
	Name string `yaml:"name" jsonschema:"required,minLength=1"`
	// Secret is the key itself, which the client sends as Authorization: Bearer; at least 16
	// characters. Given as env:NAME, file:PATH or the key itself.
	Secret Secret `yaml:"secret" jsonschema:"required"`
	// Scopes are the permissions of the key: resolve, read, erase, admin.
	Scopes []string `yaml:"scopes" jsonschema:"required,minItems=1,enum=resolve,enum=read,enum=erase,enum=admin"`
	// AppIDs are the apps that the key may access; if the list is empty, all apps.
	AppIDs []string `yaml:"appids,omitempty"`
	// NotAfter is when the key expires: a time in the format of RFC 3339, or a date, which is the
	// last day of the key in UTC. An expired key is rejected like an unknown one. It may remain in
	// the file; doctor warns about it. Without not_after, the key does not expire.
	NotAfter string `yaml:"not_after,omitempty"`
}

// End returns the last moment of the key, or the zero time if the key does not expire.
func (k APIKey) End() time.Time {
	expiry, _ := parseExpiry(k.NotAfter) // Load has validated it
	return expiry
}

// parseExpiry parses a date or a time. An empty text is the zero time.
func parseExpiry(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if day, err := time.Parse(time.DateOnly, text); err == nil {
		return day.AddDate(0, 0, 1).Add(-time.Nanosecond), nil
	}
	return time.Parse(time.RFC3339, text)
}

// scopes are the accepted values of [APIKey.Scopes].
var scopes = []string{"resolve", "read", "erase", "admin"}

func (c *Config) checkAPI(r *report) {
	if reason := wrongListen(c.API.Listen, len(c.API.Keys) > 0); reason != "" {
		r.refuse("api.listen", "%s", reason)
	}
	checkAPITLS(r, c.API.TLS)
	for i, cidr := range c.API.TrustedProxies {
		if reason := wrongProxies(cidr); reason != "" {
			r.refuse(fmt.Sprintf("api.trusted_proxies[%d]", i), "%s, is %s", reason, show(cidr))
		}
	}
	first := map[string]int{}
	for i, key := range c.API.Keys {
		at := fmt.Sprintf("api.keys[%d]", i)
		if earlier, twice := first[key.Name]; twice && key.Name != "" {
			r.refuse(join(at, "name"), "%s is already the name of api.keys[%d]", show(key.Name),
				earlier)
		} else {
			first[key.Name] = i
		}
		checkAPIKey(r, at, key)
	}
}

// wrongProxies returns the problem with a range of trusted proxies, or "".
func wrongProxies(cidr string) string {
	prefix, err := netip.ParsePrefix(cidr)
	switch {
	case err != nil:
		return "must be a range such as 10.0.0.0/8, or 10.0.0.7/32 for one address"
	case prefix.Addr().Is4In6():
		return "must be written as an IPv4 range, such as 10.0.0.0/8"
	case prefix.Bits() == 0:
		return "must not contain every address: every client could then choose its own address"
	default:
		return ""
	}
}

// Proxies returns the parsed ranges of [API.TrustedProxies].
func (a *API) Proxies() []netip.Prefix {
	var prefixes []netip.Prefix
	for _, cidr := range a.TrustedProxies {
		if prefix, err := netip.ParsePrefix(cidr); err == nil { // Load has validated it
			prefixes = append(prefixes, prefix.Masked())
		}
	}
	return prefixes
}

func checkAPIKey(r *report, at string, key APIKey) {
	if key.Name == "" {
		r.refuse(join(at, "name"), "missing")
	}
	if key.Secret.IsZero() {
		r.refuse(join(at, "secret"), "missing")
	}
	if len(key.Scopes) == 0 {
		r.refuse(join(at, "scopes"), "missing; must contain %s", alternatives(scopes))
	}
	for i, scope := range key.Scopes {
		if !slices.Contains(scopes, scope) {
			r.refuse(fmt.Sprintf("%s.scopes[%d]", at, i),
				"must be %s, is %s", alternatives(scopes), show(scope))
		}
	}
	// The zero time means no expiry, so it must not be written out.
	if expiry, err := parseExpiry(key.NotAfter); err != nil || expiry.IsZero() && key.NotAfter != "" {
		r.refuse(join(at, "not_after"),
			"must be a date or a time such as 2027-01-31 or 2027-01-31T18:00:00+08:00, is %s",
			show(key.NotAfter))
	}
	for i, id := range key.AppIDs {
		checkAppID(r, fmt.Sprintf("%s.appids[%d]", at, i), id)
	}
}

// minKey is shorter than the keys of common generators and longer than most passwords that people
// choose.
const minKey = 16

// apiKey rejects a text that is too short for a key. Its error does not quote the text.
func apiKey(text string) error {
	if len(text) < minKey {
		return errors.New("must have at least 16 characters; openssl rand -hex 32 generates a good key")
	}
	return plausible(text)
}
