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

	mu     sync.Mutex
	now    *tls.Config // guarded by mu, as are the fields below; the Config itself never changes
	of     TLS         // the PEM texts that now was made from
	refuse string      // the last error of a newer certificate
	looked time.Time
}

// newCertificates reads the certificate for the first time. It returns an error if it is invalid.
func newCertificates(read func() (TLS, error), log *slog.Logger) (*certificates, error) {
	c := &certificates{read: read, every: rereadEvery, log: log}
	of, now, err := c.look()
	if err != nil {
		return nil, err
	}
	c.of, c.now, c.looked = of, now, time.Now()
	return c, nil
}

// serverConfig returns the TLS settings of the listener.
func (c *certificates) serverConfig() *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return c.current(), nil },
	}
}

// current returns the settings for a handshake. At most one handshake in c.every reads the
// certificate again. The others use the present settings and do not wait.
func (c *certificates) current() *tls.Config {
	c.mu.Lock()
	now := c.now
	if time.Since(c.looked) < c.every {
		c.mu.Unlock()
		return now
	}
	c.looked = time.Now()
	c.mu.Unlock()
	of, newer, err := c.look()
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err != nil:
		if text := err.Error(); text != c.refuse { // log the same error only once
			c.refuse = text
			c.log.Error("a new certificate of the API is not in order; the old one stays", "error", text)
		}
	case newer != nil:
		c.of, c.now, c.refuse = of, newer, ""
		c.log.Info("the API has a new certificate", "not_after", newer.Certificates[0].Leaf.NotAfter)
	default:
		c.refuse = ""
	}
	return c.now
}

// look reads the certificate. The Config is nil if nothing has changed.
func (c *certificates) look() (TLS, *tls.Config, error) {
	of, err := c.read()
	if err != nil {
		return TLS{}, nil, err
	}
	c.mu.Lock()
	same := c.now != nil && of.Cert.Equal(c.of.Cert) && of.Key.Equal(c.of.Key) && of.ClientCA.Equal(c.of.ClientCA)
	c.mu.Unlock()
	if same {
		return of, nil, nil
	}
	made, err := of.config()
	return of, made, err
}

// config returns the settings for handshakes. Its error contains no part of the PEM texts.
func (t TLS) config() (*tls.Config, error) {
	pair, err := tls.X509KeyPair([]byte(t.Cert.Reveal()), []byte(t.Key.Reveal()))
	if err != nil {
		return nil, errors.New("not a certificate and its key, in PEM")
	}
	made := &tls.Config{
		MinVersion:   tls.VersionTLS12,
		Certificates: []tls.Certificate{pair},
		NextProtos:   []string{"http/1.1"},
	}
	if t.ClientCA.Empty() {
		return made, nil
	}
	made.ClientAuth, made.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
	if !made.ClientCAs.AppendCertsFromPEM([]byte(t.ClientCA.Reveal())) {
		return nil, errors.New("no certificate of a client CA, in PEM")
	}
	// Session tickets would admit a client whose certificate is no longer accepted.
	made.SessionTicketsDisabled = true
	return made, nil
}

// serverTLS returns nil if cfg has no TLS.
func serverTLS(cfg Config, log *slog.Logger) (*certificates, error) {
	if cfg.TLS == nil {
		return nil, nil //nolint:nilnil // there is none
	}
	c, err := newCertificates(cfg.TLS, log)
	if err != nil {
		return nil, fmt.Errorf("httpapi: TLS: %w", err)
	}
	return c, nil
}
