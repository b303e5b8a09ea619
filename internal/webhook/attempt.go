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

// Class says what came of an attempt, as one word for metrics and lists.
type Class string

// The classes.
const (
	OK        Class = "ok"        // 2xx
	Gone      Class = "gone"      // 410: the receiver wants nothing any more
	Slow      Class = "slow"      // 429, 502, 503, 504
	Refused   Class = "refused"   // another status, redirects among them, which are not followed
	Forbidden Class = "forbidden" // the address is one that must not be reached; see allow_cidrs
	DNS       Class = "dns"
	Connect   Class = "connect"
	TLS       Class = "tls"
	// Certificate is one of the endpoint that is not trusted, has expired, or is of another name.
	Certificate Class = "certificate"
	Reset       Class = "reset" // the connection ended without an answer
	Timeout     Class = "timeout"
	Canceled    Class = "canceled" // by the caller: not the endpoint's fault
)

// Explain says what a class means to an operator; empty for OK.
func (c Class) Explain() string { return explanations[c] }

var explanations = map[Class]string{
	Gone:        "the endpoint answered 410: it wants nothing any more",
	Slow:        "the endpoint is busy",
	Refused:     "the endpoint did not answer 2xx; redirects are not followed",
	Forbidden:   "the address is not public; allow_cidrs opens a range on purpose, metadata services stay closed",
	DNS:         "the name of the endpoint cannot be resolved",
	Connect:     "nobody answers at the address",
	TLS:         "no TLS connection comes about: it may speak none, or nothing newer than 1.1, or want another client certificate",
	Certificate: "the certificate of the endpoint is not trusted, has expired, or is of another name",
	Reset:       "the connection ended without an answer",
	Timeout:     "no answer came in time",
	Canceled:    "the worker stopped",
}

// Attempt is what came of one. Neither body nor headers of the answer are kept, nor the text of a transport error: to
// show them would make cloudidq a way to look into its network.
type Attempt struct {
	Status     int // 0 without an answer
	Class      Class
	Duration   time.Duration
	RetryAfter time.Duration // as the receiver asks, up to a day; 0 if it does not
}

// classOfStatus sorts an answer.
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

// classOfError sorts what came instead of an answer. ctx is the caller's.
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
	case isOp && operation.Op == "remote error": // an alert of the other side
		return TLS
	default:
		return Connect
	}
}

// maxRetryAfter is as long as anybody may make us wait.
const maxRetryAfter = 24 * time.Hour

// retryAfter reads the header of that name: seconds, or a date. Anything else counts as none.
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
