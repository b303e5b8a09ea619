package wechat

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"syscall"
)

// interrupted is the error text for work that was abandoned because the caller's context ended.
const interrupted = "interrupted"

// transportError converts an error of the transport to an *Error with one of cloudidq's short
// texts. It drops the original error, because its text may contain addresses and data from the
// connection. ctx is the caller's context, not the attempt's.
func transportError(ctx context.Context, err error) *Error {
	if own, ok := errors.AsType[*Error](err); ok {
		return own
	}
	if ctx.Err() != nil {
		return transient(interrupted)
	}
	return transient(transportErrorText(err))
}

// transportErrorText returns the text for an error of the transport.
func transportErrorText(err error) string {
	timeout, isNet := errors.AsType[net.Error](err)
	_, isDNS := errors.AsType[*net.DNSError](err)
	_, isCertificate := errors.AsType[*tls.CertificateVerificationError](err)
	_, isNotTLS := errors.AsType[tls.RecordHeaderError](err)
	switch {
	case errors.Is(err, context.DeadlineExceeded), isNet && timeout.Timeout():
		return "no answer: timeout"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "no answer: connection refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "no answer: connection reset"
	case errors.Is(err, io.ErrUnexpectedEOF):
		return "answer is cut short"
	case errors.Is(err, io.EOF):
		return "no answer: connection closed"
	case isDNS:
		return "no answer: host not found"
	case isCertificate:
		return "no answer: certificate not trusted"
	case isNotTLS:
		return "no answer: the other side does not speak TLS"
	default:
		return "no answer: transport error"
	}
}

// statusError returns the error of an answer with an HTTP status other than 200. WeChat itself
// always answers with status 200, so another machine has answered. hosted says that the request
// passes the platform of cloud hosting. The platform answers 502 if the path is not
// white-listed:
// https://developers.weixin.qq.com/minigame/dev/wxcloudrun/src/guide/weixin/faq.html.
func statusError(status int, hosted bool) *Error {
	e := &Error{Message: "HTTP " + strconv.Itoa(status)}
	switch {
	case status == http.StatusRequestEntityTooLarge:
		e.Class = ClassBatch
	case status == http.StatusTooManyRequests:
		e.Class = ClassRate
	case status == http.StatusBadGateway && hosted:
		e.Class = ClassApp
	case status >= 500, status == http.StatusRequestTimeout, status < 300:
		e.Class = ClassRetry
	default:
		// A redirect, 403 or 404 comes from a proxy, or from a host that is not WeChat's. No
		// item is the cause, so no item may fail. No call of the app works until an operator
		// fixes base_url or the network.
		e.Class = ClassApp
	}
	return e
}
