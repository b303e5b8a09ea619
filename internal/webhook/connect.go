package webhook

import (
	"context"
	"crypto/tls"
	"net"
	"time"
)

// Connect checks whether Send could reach the endpoint, and sends no request. It resolves the
// name, checks that the address is allowed, connects, and makes the TLS handshake for an https
// URL. The Status of the result is always 0.
func (s *Sender) Connect(ctx context.Context) Attempt {
	begun := time.Now()
	class := OK
	if err := s.connect(ctx); err != nil {
		class = classOfError(ctx, err)
	}
	return Attempt{Class: class, Duration: time.Since(begun)}
}

func (s *Sender) connect(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout+tlsTimeout)
	defer cancel()
	port := s.to.Port()
	if port == "" {
		port = s.to.Scheme // the dialer resolves "http" and "https"
	}
	conn, err := s.transport.DialContext(ctx, "tcp", net.JoinHostPort(s.to.Hostname(), port))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if s.to.Scheme != "https" {
		return nil
	}
	// http.Transport sets the server name by itself. Here it must be set explicitly.
	cfg := s.transport.TLSClientConfig.Clone()
	cfg.ServerName = s.to.Hostname()
	return tls.Client(conn, cfg).HandshakeContext(ctx)
}
