package webhook

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
	"time"
)

// SetTimeout shortens the attempts of a sender.
func (s *Sender) SetTimeout(d time.Duration) { s.timeout = d }

// Trust makes an endpoint trust one certificate.
func Trust(e *Endpoint, certificate *x509.Certificate) {
	e.rootCAs = x509.NewCertPool()
	e.rootCAs.AddCert(certificate)
}

// MayDial is what the guard says of an address.
func MayDial(allowed []netip.Prefix, address netip.Addr) error {
	network := "tcp6"
	if address.Is4() {
		network = "tcp4"
	}
	return guard(allowed)(context.Background(), network, netip.AddrPortFrom(address, 80).String(), nil)
}

// IsMetadata reports whether an error says that an address is one of a metadata service.
func IsMetadata(err error) bool { return errors.Is(err, errMetadata) }

// RetryAfter is retryAfter.
func RetryAfter(value string, now time.Time) time.Duration { return retryAfter(value, now) }

// CountReads counts what a sender reads from its connections.
func (s *Sender) CountReads(n *atomic.Int64) {
	dial := s.transport.DialContext
	s.transport.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		return countedConn{conn, n}, err
	}
}

type countedConn struct {
	net.Conn
	n *atomic.Int64
}

func (c countedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.n.Add(int64(n))
	return n, err
}
