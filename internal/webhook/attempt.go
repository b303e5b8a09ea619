package webhook

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"syscall"
	"time"

	"code.dny.dev/ssrf"
)

// Class is the outcome of an attempt, as one word for metrics and lists.
type Class string

// The classes of attempts.
const (
	OK        Class = "ok"        // 2xx
	Gone      Class = "gone"      // 410: the receiver wants no further deliveries
	Slow      Class = "slow"      // 429, 502, 503, 504
	Refused   Class = "refused"   // any other status; includes redirects, which are not followed
	Forbidden Class = "forbidden" // the address is not allowed; see allow_cidrs
	DNS       Class = "dns"       // the host name cannot be resolved
	Connect   Class = "connect"   // no connection, or any other network error
	TLS       Class = "tls"       // no TLS connection
	// Certificate means that the endpoint's certificate is not trusted, has expired, or is
	// for another name.
	Certificate Class = "certificate"
	Reset       Class = "reset"    // the connection was closed without an answer
	Timeout     Class = "timeout"  // no answer in time
	Canceled    Class = "canceled" // by the caller; not the endpoint's fault
)

// Explain returns a text for operators that explains the class. It is empty for OK.
func (c Class) Explain() string { return explanations[c] }

var explanations = map[Class]string{
	Gone:      "the endpoint answered 410: it accepts no further deliveries",
	Slow:      "the endpoint is busy",
	Refused:   "the endpoint did not answer 2xx; redirects are not followed",
	Forbidden: "the address is not public; allow_cidrs can allow a range, except metadata services",
	DNS:       "the host name of the endpoint cannot be resolved",
	Connect:   "no server is listening at the address",
	TLS: "the TLS handshake failed: the endpoint may not use TLS, support only TLS 1.1 or older, " +
		"or require another client certificate",
	Certificate: "the certificate of the endpoint is not trusted, has expired, or is for another name",
	Reset:       "the connection was closed without an answer",
	Timeout:     "no answer in time",
	Canceled:    "the worker was stopped",
}

// Attempt is the result of one delivery attempt. It holds neither the body nor the headers of
// the answer, and no text of a transport error. Showing these would let outsiders probe the
// network of cloudidq.
type Attempt struct {
	Status     int // HTTP status; 0 without an answer
	Class      Class
	Duration   time.Duration
	RetryAfter time.Duration // from the Retry-After header, up to a day; 0 without it
}

// classOfStatus classifies an answer.
func classOfStatus(status int) Class {
	switch {
	case status >= 200 && status < 300:
		return OK
	case status == http.StatusGone:
		return Gone
	case status == http.StatusTooManyRequests, status == http.StatusBadGateway,
		status == http.StatusServiceUnavailable, status == http.StatusGatewayTimeout:
		return Slow
	default:
		return Refused
	}
}

// classOfError classifies an error of an attempt without an answer. ctx is the caller's, without
// the timeout of the attempt. The order of the cases matters, because an error may match several.
func classOfError(ctx context.Context, err error) Class {
	timeout, isNet := errors.AsType[net.Error](err)
	_, isDNS := errors.AsType[*net.DNSError](err)
	_, isCertificate := errors.AsType[*tls.CertificateVerificationError](err)
	_, isRecord := errors.AsType[tls.RecordHeaderError](err)
	_, isAlert := errors.AsType[tls.AlertError](err)
	operation, isOp := errors.AsType[*net.OpError](err)
	switch {
	case errors.Is(err, ssrf.ErrProhibitedIP), errors.Is(err, ssrf.ErrProhibitedNetwork), errors.Is(err, errMetadata):
		return Forbidden
	case ctx.Err() != nil:
		return Canceled
	case isDNS:
		return DNS
	case errors.Is(err, context.DeadlineExceeded), isNet && timeout.Timeout():
		return Timeout
	case isCertificate:
		return Certificate
	case isRecord, isAlert:
		return TLS
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return Reset
	case isOp && operation.Op == "remote error": // a TLS alert from the receiver
		return TLS
	default:
		return Connect
	}
}

// maxRetryAfter bounds the wait that a receiver may request.
const maxRetryAfter = 24 * time.Hour

// retryAfter parses the value of a Retry-After header: seconds, or a date. It returns 0 for any
// other value, and at most maxRetryAfter.
func retryAfter(value string, now time.Time) time.Duration {
	if value == "" {
		return 0
	}
	if seconds, err := strconv.ParseInt(value, 10, 64); err == nil {
		return min(max(0, time.Duration(min(seconds, int64(maxRetryAfter/time.Second)))*time.Second), maxRetryAfter)
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	return min(max(0, at.Sub(now)), maxRetryAfter)
}
