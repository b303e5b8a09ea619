package httpapi

import (
	"net/http"
	"net/netip"
	"strings"
)

// proxies are the address ranges of the proxies in front of the server ([Config.TrustedProxies]).
type proxies []netip.Prefix

// trust reports whether an address is that of a proxy.
func (p proxies) trust(address netip.Addr) bool {
	for _, prefix := range p {
		if prefix.Contains(address) {
			return true
		}
	}
	return false
}

// clientOf is where a request comes from: the other end of the connection, and behind a trusted proxy the address that the
// proxy has named. Anybody can write such a header, so it is read from its end, and the first address that is no trusted
// proxy's is the client's. The zero address stands for a peer without one.
func (p proxies) clientOf(r *http.Request) netip.Addr {
	client := addressIn(r.RemoteAddr)
	if !p.trust(client) {
		return client
	}
	hops := hopsOf(r.Header)
	for i := len(hops) - 1; i >= 0; i-- {
		hop := addressIn(hops[i])
		if !hop.IsValid() { // a name, or "unknown": nothing before it can be believed
			return client
		}
		if client = hop; !p.trust(client) {
			return client
		}
	}
	return client
}

// hopsOf are the addresses that proxies have noted, the nearest last: X-Forwarded-For, or, without one, Forwarded (RFC 7239).
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
		hops = append(hops, forIn(element))
	}
	return hops
}

// forIn is the parameter for= of an element of Forwarded; empty = there is none.
func forIn(element string) string {
	for pair := range strings.SplitSeq(element, ";") {
		name, value, _ := strings.Cut(pair, "=")
		if strings.EqualFold(strings.TrimSpace(name), "for") {
			return strings.Trim(strings.TrimSpace(value), `"`)
		}
	}
	return ""
}

// addressIn reads an address, with or without a port and brackets. An IPv4 address that is written as IPv6 becomes IPv4.
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

// neighbours are the addresses that count as one: an IPv4 address, or the /64 of an IPv6 address, within which whoever has
// one has them all.
func neighbours(address netip.Addr) netip.Prefix {
	bits := address.BitLen()
	if address.Is6() {
		bits = 64
	}
	prefix, err := address.Prefix(bits)
	if err != nil { // of the zero address
		return netip.Prefix{}
	}
	return prefix
}
