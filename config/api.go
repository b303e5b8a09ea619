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
	// A certificate, for an API that no proxy stands in front of; without one it speaks plain HTTP. The files are read again
	// when a client connects, at most every 10 s, so that a new certificate needs no restart; while a new one is not in
	// order the old one stays, and the log says so.
	TLS APITLS `yaml:"tls,omitzero"`
	// Keys are those who may come in; without any, everybody who reaches the address.
	Keys []APIKey `yaml:"keys,omitempty"`
	// TrustedProxies are the address ranges of proxies in front of the API, such as 10.0.0.0/8. Only from them the client's
	// address is taken from X-Forwarded-For or Forwarded: the last one in it that is no trusted proxy's. Without any, the
	// client is whoever connects.
	TrustedProxies []string `yaml:"trusted_proxies,omitempty"`
	// CommitLinger is how long a request waits for others to share its task. 0s to 1s.
	CommitLinger time.Duration `yaml:"commit_linger" default:"2ms" min:"0s" max:"1s"`
	// MaxPending is how many tasks may wait in a queue, those that come back later among them, before requests are refused
	// with 503 and backfills wait for room. 1 to 10000000.
	MaxPending int `yaml:"max_pending" default:"100000" min:"1" max:"10000000"`
}

// APITLS is what the API proves itself with.
type APITLS struct {
	// Cert is the certificate in PEM, followed by those in between, if there are any: env:NAME, file:PATH or the text itself.
	Cert Secret `yaml:"cert,omitzero"`
	// Key is the key of cert, in PEM and without a passphrase: env:NAME, file:PATH or the text itself.
	Key Secret `yaml:"key,omitzero"`
	// ClientCA are certificates in PEM: if they are given, only clients get in that have a certificate of one of them, and
	// a key as well. env:NAME, file:PATH or the text itself.
	ClientCA Secret `yaml:"client_ca,omitzero"`
}

// APIKey lets a client in.
type APIKey struct {
	// Name is for the log.
	Name string `yaml:"name" jsonschema:"required,minLength=1"`
	// Secret is what the client sends as Authorization: Bearer, at least 16 characters: env:NAME, file:PATH or the key
	// itself.
	Secret Secret `yaml:"secret" jsonschema:"required"`
	// Scopes are what the key may do: resolve, read, erase, admin.
	Scopes []string `yaml:"scopes" jsonschema:"required,minItems=1,enum=resolve,enum=read,enum=erase,enum=admin"`
	// AppIDs are the only apps that the key reaches; without any, all.
	AppIDs []string `yaml:"appids,omitempty"`
	// NotAfter is when the key ends: a time as RFC 3339 has it, or a date, whose day in UTC is the last one. A key that has
	// ended is refused like one that nobody knows; here it may stay, and doctor warns of it. Without it a key has no end.
	NotAfter string `yaml:"not_after,omitempty"`
}

// End is the last moment of the key; zero for one without an end.
func (k APIKey) End() time.Time {
	end, _ := endOf(k.NotAfter) // which Load has checked
	return end
}

func endOf(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if day, err := time.Parse(time.DateOnly, text); err == nil {
		return day.AddDate(0, 0, 1).Add(-time.Nanosecond), nil
	}
	return time.Parse(time.RFC3339, text)
}

// scopes are what [APIKey.Scopes] may hold.
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
			r.refuse(join(at, "name"), "%s is the name of api.keys[%d] already", show(key.Name), earlier)
		} else {
			first[key.Name] = i
		}
		checkAPIKey(r, at, key)
	}
}

// wrongProxies says what is wrong with a range of trusted proxies.
func wrongProxies(cidr string) string {
	prefix, err := netip.ParsePrefix(cidr)
	switch {
	case err != nil:
		return "must be a range such as 10.0.0.0/8, or 10.0.0.7/32 for one address"
	case prefix.Addr().Is4In6():
		return "must be written as an IPv4 range, such as 10.0.0.0/8"
	case prefix.Bits() == 0:
		return "must not hold every address: any client could give itself any other"
	default:
		return ""
	}
}

// Proxies are the ranges of [API.TrustedProxies].
func (a *API) Proxies() []netip.Prefix {
	var prefixes []netip.Prefix
	for _, cidr := range a.TrustedProxies {
		if prefix, err := netip.ParsePrefix(cidr); err == nil { // Load has checked it
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
		r.refuse(join(at, "scopes"), "missing; must be some of %s", alternatives(scopes))
	}
	for i, scope := range key.Scopes {
		if !slices.Contains(scopes, scope) {
			r.refuse(fmt.Sprintf("%s.scopes[%d]", at, i), "must be %s, is %s", alternatives(scopes), show(scope))
		}
	}
	if end, err := endOf(key.NotAfter); err != nil || end.IsZero() && key.NotAfter != "" {
		r.refuse(join(at, "not_after"), "must be a date or a time such as 2027-01-31 or 2027-01-31T18:00:00+08:00, is %s", show(key.NotAfter))
	}
	for i, id := range key.AppIDs {
		checkAppID(r, fmt.Sprintf("%s.appids[%d]", at, i), id)
	}
}

// minKey is less than what any generator of keys makes, and more than what a person thinks up.
const minKey = 16

// apiKey refuses what is too short to be a key. Its error does not quote it.
func apiKey(text string) error {
	if len(text) < minKey {
		return errors.New("must have at least 16 characters; openssl rand -hex 32 makes a good one")
	}
	return plausible(text)
}
