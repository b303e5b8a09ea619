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

// Limits of an attempt, whatever the receiver does.
const (
	connectTimeout = 5 * time.Second
	tlsTimeout     = 5 * time.Second
	headerTimeout  = 15 * time.Second
	attemptTimeout = 30 * time.Second // with the body of the answer
	maxAnswer      = 4 << 10          // bytes that are read, to keep the connection if the answer is short
	maxHeader      = 16 << 10
)

// newTransport returns a transport that dials public addresses, and those in allowed. The check is made on the address
// that is dialled, after the name was resolved, so that no name can be bent to another one in between. A proxy would see
// the name and make the check blind, so there is none.
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

// guard returns the check of an address about to be dialled.
func guard(allowed []netip.Prefix) func(ctx context.Context, network, address string, c syscall.RawConn) error {
	var v4, v6 []netip.Prefix
	for _, prefix := range allowed {
		if prefix.Addr().Is4() {
			v4 = append(v4, prefix)
		} else {
			v6 = append(v6, prefix)
		}
	}
	guardian := ssrf.New(ssrf.WithAnyPort(), ssrf.WithAllowedV4Prefixes(v4...), ssrf.WithAllowedV6Prefixes(v6...))
	return func(_ context.Context, network, address string, c syscall.RawConn) error {
		if to, err := netip.ParseAddrPort(address); err == nil && isMetadata(to.Addr()) {
			return errMetadata
		}
		return guardian.Safe(network, address, c)
	}
}
