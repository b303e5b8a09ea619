package webhook

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// Endpoint is the configuration of a receiver of deliveries.
type Endpoint struct {
	Name        string
	URL         string
	Keys        []Key            // at least one
	AllowCIDRs  []netip.Prefix   // non-public ranges to allow; if any, http:// URLs are allowed
	ClientCert  *tls.Certificate // nil = none
	MaxInFlight int              // concurrent attempts; 0 = 16
	UserAgent   string
	Tracers     trace.TracerProvider // nil = nothing is traced

	rootCAs *x509.CertPool // for tests
}

const defaultInFlight = 16

func (e Endpoint) maxInFlight() int {
	if e.MaxInFlight == 0 {
		return defaultInFlight
	}
	return e.MaxInFlight
}

// Sender makes attempts at one endpoint. It is safe for concurrent use.
type Sender struct {
	endpoint  Endpoint
	to        *url.URL
	transport *http.Transport
	timeout   time.Duration
	tracer    trace.Tracer // nil = no spans
}

// NewSender returns a sender. It makes no connection. Its error lists all problems of the
// endpoint. The error does not quote the URL, because the URL may contain a token of the
// receiver. The caller closes the sender.
func NewSender(e Endpoint) (*Sender, error) {
	var problems []error
	to, err := url.Parse(e.URL)
	switch {
	case err != nil || to.Hostname() == "":
		problems = append(problems, errors.New(
			"url: want a URL such as https://example.com/hooks/cloudid"))
	case to.User != nil || to.Fragment != "":
		problems = append(problems, errors.New("url: want neither user nor fragment"))
	case to.Scheme != "https" && (to.Scheme != "http" || len(e.AllowCIDRs) == 0):
		problems = append(problems, errors.New(
			"url: want https; http is allowed only if allow_cidrs is set"))
	}
	if len(e.Keys) == 0 {
		problems = append(problems, errors.New("secrets: want at least one"))
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	s := &Sender{endpoint: e, to: to, transport: newTransport(e), timeout: attemptTimeout}
	if e.Tracers != nil {
		s.tracer = e.Tracers.Tracer("cloudidq/internal/webhook")
	}
	return s, nil
}

// Close closes the idle connections.
func (s *Sender) Close() { s.transport.CloseIdleConnections() }

// Send makes one attempt to deliver body under id. It takes at most 30 seconds. If the attempt
// belongs to a trace, the request has the traceparent header of W3C Trace Context. The
// signature does not cover that header.
func (s *Sender) Send(ctx context.Context, id string, body []byte) Attempt {
	begun := time.Now()
	ctx, end := s.start(ctx)
	attempt := s.post(ctx, id, body, begun)
	attempt.Duration = time.Since(begun)
	end(attempt)
	return attempt
}

// post sends the request of an attempt. It does not set Duration.
func (s *Sender) post(ctx context.Context, id string, body []byte, now time.Time) Attempt {
	limited, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	// Sign first: the other headers are not part of the signature.
	header := Sign(s.endpoint.Keys, id, now, body)
	header.Set("Content-Type", "application/json")
	header.Set("User-Agent", s.endpoint.UserAgent)
	propagation.TraceContext{}.Inject(ctx, propagation.HeaderCarrier(header))
	request := (&http.Request{
		Method: http.MethodPost, URL: s.to, Host: s.to.Host, Header: header,
		Body:          io.NopCloser(bytes.NewReader(body)),
		GetBody:       func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil },
		ContentLength: int64(len(body)),
	}).WithContext(limited)
	// Use the transport directly. An http.Client would follow redirects, and send the body and
	// the signature along.
	response, err := s.transport.RoundTrip(request)
	if err != nil {
		return Attempt{Class: classOfError(ctx, err)}
	}
	defer func() { _ = response.Body.Close() }()
	// The answer is read only so that the connection can be reused. A long answer is cut off.
	// Its content is ignored.
	_, _ = io.CopyN(io.Discard, response.Body, maxAnswer)
	return Attempt{
		Status: response.StatusCode, Class: classOfStatus(response.StatusCode),
		RetryAfter: retryAfter(response.Header.Get("Retry-After"), now),
	}
}
