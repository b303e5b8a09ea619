package httpapi

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"cloudidq/internal/secret"
)

// TLS holds the server's certificate and key, in PEM.
type TLS struct {
	Cert, Key secret.Text // the chain, starting with the server's own certificate, and its key
	ClientCA  secret.Text // if not empty, clients need a certificate signed by one of these
}

// rereadEvery is the minimum time between two reads of the certificate. The first handshake
// after that time reads it again.
const rereadEvery = 10 * time.Second

// certificates holds the current TLS settings. Handshakes read the files again, so certificates
// needs no goroutine.
type certificates struct {
	read  func() (TLS, error)
	every time.Duration
	log   *slog.Logger

	mu        sync.Mutex
	current   *tls.Config // guarded by mu, as are the fields below; the Config itself never changes
	pems      TLS         // the PEM texts that current was made from
	lastError string      // the last error of a newer certificate
	loadedAt  time.Time
}

// newCertificates reads the certificate for the first time. It returns an error if it is invalid.
func newCertificates(read func() (TLS, error), log *slog.Logger) (*certificates, error) {
	c := &certificates{read: read, every: rereadEvery, log: log}
	pems, current, err := c.load()
	if err != nil {
		return nil, err
	}
	c.pems, c.current, c.loadedAt = pems, current, time.Now()
	return c, nil
}

// serverConfig returns the TLS settings of the listener.
func (c *certificates) serverConfig() *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return c.forHandshake(), nil },
	}
}

// forHandshake returns the settings for a handshake. At most one handshake in c.every reads the
// certificate again. The others use the present settings and do not wait.
func (c *certificates) forHandshake() *tls.Config {
	c.mu.Lock()
	current := c.current
	if time.Since(c.loadedAt) < c.every {
		c.mu.Unlock()
		return current
	}
	c.loadedAt = time.Now()
	c.mu.Unlock()
	pems, newer, err := c.load()
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err != nil:
		if text := err.Error(); text != c.lastError { // log the same error only once
			c.lastError = text
			c.log.Error("new API certificate is invalid, keeping the old one", "error", text)
		}
	case newer != nil:
		c.pems, c.current, c.lastError = pems, newer, ""
		c.log.Info("API certificate replaced", "not_after", newer.Certificates[0].Leaf.NotAfter)
	default:
		c.lastError = ""
	}
	return c.current
}

// load reads the certificate. The Config is nil if nothing has changed.
func (c *certificates) load() (TLS, *tls.Config, error) {
	pems, err := c.read()
	if err != nil {
		return TLS{}, nil, err
	}
	c.mu.Lock()
	unchanged := c.current != nil && pems.Cert.Equal(c.pems.Cert) && pems.Key.Equal(c.pems.Key) &&
		pems.ClientCA.Equal(c.pems.ClientCA)
	c.mu.Unlock()
	if unchanged {
		return pems, nil, nil
	}
	cfg, err := pems.config()
	return pems, cfg, err
}

// config returns the settings for handshakes. Its error contains no part of the PEM texts.
func (t TLS) config() (*tls.Config, error) {
	pair, err := tls.X509KeyPair([]byte(t.Cert.Reveal()), []byte(t.Key.Reveal()))
	if err != nil {
		return nil, errors.New("cert and key must be a certificate and its private key, in PEM")
	}
	cfg := &tls.Config{
		MinVersion:   tls.VersionTLS12,
		Certificates: []tls.Certificate{pair},
		NextProtos:   []string{"http/1.1"},
	}
	if t.ClientCA.Empty() {
		return cfg, nil
	}
	cfg.ClientAuth, cfg.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
	if !cfg.ClientCAs.AppendCertsFromPEM([]byte(t.ClientCA.Reveal())) {
		return nil, errors.New("client_ca must contain at least one certificate, in PEM")
	}
	// Session tickets would admit a client whose certificate is no longer accepted.
	cfg.SessionTicketsDisabled = true
	return cfg, nil
}

// serverTLS returns nil if cfg has no TLS.
func serverTLS(cfg Config, log *slog.Logger) (*certificates, error) {
	if cfg.TLS == nil {
		return nil, nil //nolint:nilnil // no TLS is configured
	}
	c, err := newCertificates(cfg.TLS, log)
	if err != nil {
		return nil, fmt.Errorf("httpapi: TLS: %w", err)
	}
	return c, nil
}
