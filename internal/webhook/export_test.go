package webhook

import (
	"crypto/x509"
	"time"
)

// SetTimeout shortens the attempts of a sender.
func (s *Sender) SetTimeout(d time.Duration) { s.timeout = d }

// Trust makes an endpoint trust one certificate.
func Trust(e *Endpoint, certificate *x509.Certificate) {
	e.rootCAs = x509.NewCertPool()
	e.rootCAs.AddCert(certificate)
}

// RetryAfter is retryAfter.
func RetryAfter(value string, now time.Time) time.Duration { return retryAfter(value, now) }
