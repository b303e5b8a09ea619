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

// TLS is what the server proves itself with, in PEM.
type TLS struct {
	Cert, Key secret.Text // the chain, the server's own first, and its key
	ClientCA  secret.Text // if it is not empty, clients must have a certificate of one of these
}

// rereadEvery is how often a certificate is looked for, at most: at the next handshake after that.
const rereadEvery = 10 * time.Second

// certificates are the TLS settings as they are now. They are read again by the handshakes, so nothing runs where nobody
// connects.
type certificates struct {
	read  func() (TLS, error)
	every time.Duration
	log   *slog.Logger

	mu     sync.Mutex
	now    *tls.Config // guarded by mu, as is all below; itself never changed
	of     TLS         // what now was made of
	refuse string      // what was last wrong with a newer one
	looked time.Time
}

func newCertificates(read func() (TLS, error), log *slog.Logger) (*certificates, error) {
	c := &certificates{read: read, every: rereadEvery, log: log}
	of, now, err := c.look()
	if err != nil {
		return nil, err
	}
	c.of, c.now, c.looked = of, now, time.Now()
	return c, nil
}

// serverConfig is for the listener.
func (c *certificates) serverConfig() *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return c.current(), nil },
	}
}

// current is what a handshake goes on with. One that finds it is time looks; the others do not wait for it.
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
		if text := err.Error(); text != c.refuse { // once, not each time
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

// look reads. The result is nil if nothing has changed.
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

// config makes the settings of a handshake. Its error holds nothing of the texts.
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
	// A ticket would let in a client whose certificate is not accepted any more.
	made.SessionTicketsDisabled = true
	return made, nil
}

// serverTLS is nil without TLS.
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
