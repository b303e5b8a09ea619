package webhook

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"

	"code.dny.dev/ssrf"
)

// Limits of an attempt. They hold for any behavior of the receiver.
const (
	connectTimeout = 5 * time.Second
	tlsTimeout     = 5 * time.Second
	headerTimeout  = 15 * time.Second
	attemptTimeout = 30 * time.Second // includes reading the body of the answer
	maxAnswer      = 4 << 10          // bytes; a connection is reused after a shorter answer
	maxHeader      = 16 << 10
)

// newTransport returns a transport that dials only public addresses and those in e.AllowCIDRs.
// It checks the resolved address right before it dials. So a name cannot resolve to another
// address between check and dial. The transport uses no proxy: a proxy would resolve the name
// itself, and the check would see only the address of the proxy.
func newTransport(e Endpoint) *http.Transport {
	dialer := &net.Dialer{Timeout: connectTimeout, ControlContext: guard(e.AllowCIDRs)}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if e.ClientCert != nil {
		config.Certificates = []tls.Certificate{*e.ClientCert}
	}
	if e.rootCAs != nil {
		config.RootCAs = e.rootCAs
	}
	return &http.Transport{
		Proxy:                  nil,
		DialContext:            dialer.DialContext,
		TLSClientConfig:        config,
		TLSHandshakeTimeout:    tlsTimeout,
		ResponseHeaderTimeout:  headerTimeout,
		MaxResponseHeaderBytes: maxHeader,
		MaxConnsPerHost:        e.maxInFlight(),
		MaxIdleConnsPerHost:    e.maxInFlight(),
		IdleConnTimeout:        30 * time.Second,
		DisableCompression:     true, // a small answer cannot unpack into a huge one
	}
}

// guard returns the check that runs before each dial. It refuses addresses that are neither
// public nor in allowed, and those of metadata services always.
func guard(allowed []netip.Prefix) func(ctx context.Context, network, address string, c syscall.RawConn) error {
	var v4, v6 []netip.Prefix
	for _, prefix := range allowed {
		if prefix.Addr().Is4() {
			v4 = append(v4, prefix)
		} else {
			v6 = append(v6, prefix)
		}
	}
	checker := ssrf.New(ssrf.WithAnyPort(), ssrf.WithAllowedV4Prefixes(v4...),
		ssrf.WithAllowedV6Prefixes(v6...))
	// The metadata check comes first, because the allowed ranges must not open these addresses.
	return func(_ context.Context, network, address string, c syscall.RawConn) error {
		if to, err := netip.ParseAddrPort(address); err == nil && isMetadata(to.Addr()) {
			return errMetadata
		}
		return checker.Safe(network, address, c)
	}
}
