package config

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"strings"
)

// checkAPITLS performs the checks that do not need the secrets.
func checkAPITLS(r *report, t APITLS) {
	switch {
	case t.Cert.IsZero() && !t.Key.IsZero():
		r.refuse("api.tls.cert", "missing; api.tls.key requires its certificate")
	case t.Cert.IsZero() && !t.ClientCA.IsZero():
		r.refuse("api.tls.cert", "missing; api.tls.client_ca requires a certificate")
	case !t.Cert.IsZero() && t.Key.IsZero():
		r.refuse("api.tls.key", "missing; api.tls.cert requires its key")
	}
}

// ReadAPITLS fetches the secrets of api.tls again, as [Config.ResolveSecrets] does, but does not
// modify the configuration. It is safe for concurrent use.
func (c *Config) ReadAPITLS() (APITLS, error) {
	r, t := newReport(c.origin), c.API.TLS
	c.resolveAPITLS(r, &t)
	return t, r.err()
}

// resolveAPITLS fetches the secrets of api.tls into t, and checks that certificate and key
// match.
func (c *Config) resolveAPITLS(r *report, t *APITLS) {
	c.resolve(r, "api.tls.cert", &t.Cert, certificates)
	c.resolve(r, "api.tls.key", &t.Key, privateKey)
	c.resolve(r, "api.tls.client_ca", &t.ClientCA, certificates)
	if r.isBroken("api.tls.cert") || r.isBroken("api.tls.key") || t.Cert.IsZero() || t.Key.IsZero() {
		return
	}
	if _, err := tls.X509KeyPair([]byte(t.Cert.text.Reveal()), []byte(t.Key.text.Reveal())); err != nil {
		r.refuse("api.tls.key", "is not the key of the first certificate in api.tls.cert")
	}
}

// certificates rejects a text without a certificate, or with one that cannot be parsed. Its
// error does not quote the text.
func certificates(text string) error {
	if err := notRedacted(text); err != nil {
		return err
	}
	n := 0
	for block, rest := pem.Decode([]byte(text)); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return errors.New("contains a certificate that cannot be parsed")
		}
		n++
	}
	if n == 0 {
		return errors.New("must contain a certificate in PEM (BEGIN CERTIFICATE)")
	}
	return nil
}

// privateKey rejects a text without an unencrypted private key. Its error does not quote the
// text.
func privateKey(text string) error {
	if err := notRedacted(text); err != nil {
		return err
	}
	for block, rest := pem.Decode([]byte(text)); block != nil; block, rest = pem.Decode(rest) {
		switch {
		case block.Type == "ENCRYPTED PRIVATE KEY", block.Headers["DEK-Info"] != "":
			return errors.New("is encrypted; the key must not have a passphrase")
		case block.Type == "PRIVATE KEY", strings.HasSuffix(block.Type, " PRIVATE KEY"):
			return nil
		}
	}
	return errors.New("must contain a private key in PEM (BEGIN PRIVATE KEY)")
}
