package httpapi

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// LoopbackHost reports whether a Host header, with or without a port, always means this machine:
// localhost, a subdomain of localhost, or a loopback address.
func LoopbackHost(host string) bool {
	name := strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if before, _, err := net.SplitHostPort(host); err == nil {
		name = before
	}
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if name == "localhost" || strings.HasSuffix(name, ".localhost") {
		return true
	}
	address, err := netip.ParseAddr(name)
	return err == nil && address.Unmap().IsLoopback()
}

// loopbackHosts rejects requests for any other host. New uses it if the configuration has no
// keys. A web page can make its own name resolve to 127.0.0.1 (DNS rebinding), and a browser
// then treats this server as the page's own origin. WeChat's pushes carry the name of the proxy
// in front of the server. They are let through, because they are signed.
func loopbackHosts(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if LoopbackHost(r.Host) || isPush(r.URL.Path) {
			next.ServeHTTP(w, r)
			return
		}
		httpError(w, http.StatusMisdirectedRequest,
			"the Host header must be localhost, 127.0.0.1 or [::1] because the API has no keys; with "+
				"api.keys, any name is accepted")
	})
}
