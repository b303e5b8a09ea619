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

// SetTimeout sets the maximum duration of the attempts of a sender.
func (s *Sender) SetTimeout(d time.Duration) { s.timeout = d }

// Trust makes an endpoint trust one certificate.
func Trust(e *Endpoint, certificate *x509.Certificate) {
	e.rootCAs = x509.NewCertPool()
	e.rootCAs.AddCert(certificate)
}

// MayDial returns the error of the guard for an address, or nil if the address is allowed.
func MayDial(allowed []netip.Prefix, address netip.Addr) error {
	network := "tcp6"
	if address.Is4() {
		network = "tcp4"
	}
	return guard(allowed)(context.Background(), network, netip.AddrPortFrom(address, 80).String(), nil)
}

// IsMetadata reports whether an error means that an address belongs to a metadata service.
func IsMetadata(err error) bool { return errors.Is(err, errMetadata) }

// RetryAfter exports retryAfter.
func RetryAfter(value string, now time.Time) time.Duration { return retryAfter(value, now) }

// CountReads adds the number of bytes that a sender reads from its connections to n.
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
