package webhook

import (
	"context"
	"crypto/tls"
	"net"
	"time"
)

// Connect finds out whether the endpoint can be reached, as Send would, and sends nothing: its name, its address against
// what may be reached, the connection, and TLS where the URL has it. Status is always 0.
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
		port = s.to.Scheme // the dialer knows both by name
	}
	conn, err := s.transport.DialContext(ctx, "tcp", net.JoinHostPort(s.to.Hostname(), port))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if s.to.Scheme != "https" {
		return nil
	}
	cfg := s.transport.TLSClientConfig.Clone()
	cfg.ServerName = s.to.Hostname()
	return tls.Client(conn, cfg).HandshakeContext(ctx)
}
