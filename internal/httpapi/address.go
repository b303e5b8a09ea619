package httpapi

import (
	"net/http"
	"net/netip"
	"strings"
)

// proxies holds the address ranges of the trusted proxies in front of the server
// ([Config.TrustedProxies]).
type proxies []netip.Prefix

// trust reports whether address belongs to a trusted proxy.
func (p proxies) trust(address netip.Addr) bool {
	for _, prefix := range p {
		if prefix.Contains(address) {
			return true
		}
	}
	return false
}

// clientOf returns the address of the client that sent r. It returns the zero address if the
// peer has none.
//
// Without a trusted proxy, the client is the other end of the connection. Behind a trusted
// proxy, the client is the address that the proxy reports in a header. Anyone can write such a
// header, so clientOf reads it from the end. The first address that is not a trusted proxy is
// the client.
func (p proxies) clientOf(r *http.Request) netip.Addr {
	client := addressIn(r.RemoteAddr)
	if !p.trust(client) {
		return client
	}
	hops := hopsOf(r.Header)
	for i := len(hops) - 1; i >= 0; i-- {
		hop := addressIn(hops[i])
		if !hop.IsValid() { // a name, or "unknown": do not trust earlier hops
			return client
		}
		if client = hop; !p.trust(client) {
			return client
		}
	}
	return client
}

// hopsOf returns the addresses that proxies have recorded, the nearest hop last. It reads
// X-Forwarded-For or, if that is missing, Forwarded (RFC 7239).
func hopsOf(header http.Header) []string {
	if lines := header.Values("X-Forwarded-For"); len(lines) > 0 {
		return strings.Split(strings.Join(lines, ","), ",")
	}
	lines := header.Values("Forwarded")
	if len(lines) == 0 {
		return nil
	}
	var hops []string
	for element := range strings.SplitSeq(strings.Join(lines, ","), ",") {
		hops = append(hops, forParam(element))
	}
	return hops
}

// forParam returns the for= parameter of one element of a Forwarded header. It returns "" if the
// element has none.
func forParam(element string) string {
	for pair := range strings.SplitSeq(element, ";") {
		name, value, _ := strings.Cut(pair, "=")
		if strings.EqualFold(strings.TrimSpace(name), "for") {
			return strings.Trim(strings.TrimSpace(value), `"`)
		}
	}
	return ""
}

// addressIn parses an address, with or without a port and brackets. It converts an IPv4-mapped
// IPv6 address to IPv4 and drops the zone. It returns the zero address if text is not an address.
func addressIn(text string) netip.Addr {
	text = strings.TrimSpace(text)
	if both, err := netip.ParseAddrPort(text); err == nil {
		return both.Addr().Unmap().WithZone("")
	}
	address, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(text, "["), "]"))
	if err != nil {
		return netip.Addr{}
	}
	return address.Unmap().WithZone("")
}

// clientPrefix returns the prefix that counts as one client: a single IPv4 address, or the /64 of
// an IPv6 address. Whoever has one address of a /64 can use all of them.
func clientPrefix(address netip.Addr) netip.Prefix {
	bits := address.BitLen()
	if address.Is6() {
		bits = 64
	}
	prefix, err := address.Prefix(bits)
	if err != nil { // address is the zero address
		return netip.Prefix{}
	}
	return prefix
}
