package httpapi_test

import (
	"net/http"
	"net/netip"
	"testing"

	"cloudidq/internal/httpapi"
)

var trustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"),
	netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}

// The client is the address that the last trusted proxy has seen. Headers from other peers are
// ignored. Entries that a client writes into the header itself are to the left of that address,
// and are ignored too.
func TestClientOf(t *testing.T) {
	t.Parallel()
	forwardedFor := func(lines ...string) http.Header { return http.Header{"X-Forwarded-For": lines} }
	forwarded := func(lines ...string) http.Header { return http.Header{"Forwarded": lines} }
	for name, tt := range map[string]struct {
		peer   string
		header http.Header
		want   string
	}{
		"NoProxy":            {"203.0.113.9:5000", nil, "203.0.113.9"},
		"NotTrusted":         {"203.0.113.9:5000", forwardedFor("198.51.100.1"), "203.0.113.9"},
		"NotTrustedEither":   {"203.0.113.9:5000", forwarded("for=198.51.100.1"), "203.0.113.9"},
		"NothingSaid":        {"10.0.0.1:5000", nil, "10.0.0.1"},
		"OneHop":             {"10.0.0.1:5000", forwardedFor("198.51.100.1"), "198.51.100.1"},
		"ClientLies":         {"10.0.0.1:5000", forwardedFor("10.9.9.9, 192.0.2.1, 198.51.100.1"), "198.51.100.1"},
		"TwoProxies":         {"10.0.0.1:5000", forwardedFor("192.0.2.1, 198.51.100.1, 10.0.0.2"), "198.51.100.1"},
		"TwoLines":           {"10.0.0.1:5000", forwardedFor("192.0.2.1", "198.51.100.1,10.0.0.2"), "198.51.100.1"},
		"ProxiesAlone":       {"10.0.0.1:5000", forwardedFor("10.0.0.3, 10.0.0.2"), "10.0.0.3"},
		"NoAddress":          {"10.0.0.1:5000", forwardedFor("198.51.100.1, unknown"), "10.0.0.1"},
		"NoAddressInBetween": {"10.0.0.1:5000", forwardedFor("198.51.100.1, planted, 10.0.0.2"), "10.0.0.2"},
		"Empty":              {"10.0.0.1:5000", forwardedFor(""), "10.0.0.1"},
		"WithPort":           {"10.0.0.1:5000", forwardedFor("198.51.100.1:1234"), "198.51.100.1"},
		"IPv6":               {"[fd00::1]:5000", forwardedFor("2001:db8::1"), "2001:db8::1"},
		"IPv6WithPort":       {"[fd00::1]:5000", forwardedFor("[2001:db8::1]:80"), "2001:db8::1"},
		"Mapped":             {"[::ffff:10.0.0.1]:5000", forwardedFor("::ffff:198.51.100.1"), "198.51.100.1"},
		"Forwarded":          {"10.0.0.1:5000", forwarded(`for=192.0.2.1, For="[2001:db8::1]:4711";proto=https;by=10.0.0.1`), "2001:db8::1"},
		"ForwardedHidden":    {"10.0.0.1:5000", forwarded(`for=192.0.2.1, for=_hidden`), "10.0.0.1"},
		"ForwardedWithout":   {"10.0.0.1:5000", forwarded(`proto=https`), "10.0.0.1"},
		"Both":               {"10.0.0.1:5000", http.Header{"X-Forwarded-For": {"198.51.100.1"}, "Forwarded": {"for=192.0.2.1"}}, "198.51.100.1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := httpapi.ClientOf(trustedProxies,
				&http.Request{RemoteAddr: tt.peer, Header: tt.header}); got != tt.want {
				t.Errorf("client = %s, want %s", got, tt.want)
			}
		})
	}
	if got := httpapi.ClientOf(nil, &http.Request{RemoteAddr: "10.0.0.1:1", Header: forwardedFor("198.51.100.1")}); got != "10.0.0.1" {
		t.Errorf("without trusted proxies the client is %s", got)
	}
}
