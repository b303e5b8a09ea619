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

// interrupted is the text for what was given up because the caller's context ended.
const interrupted = "interrupted"

// fault turns an error of the transport into a short text of ours. The error itself is not kept: its text may name
// addresses and quote what came over the wire. ctx is the caller's, not the attempt's.
func fault(ctx context.Context, err error) *Error {
	if own, ok := errors.AsType[*Error](err); ok {
		return own
	}
	if ctx.Err() != nil {
		return transient(interrupted)
	}
	return transient(faultText(err))
}

func faultText(err error) string {
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
		return "no answer: transport fault"
	}
}

// statusError is the error of an answer that is not WeChat's own, which always has status 200. hosted says that the
// platform of cloud hosting stands between, which answers 502 if the path is not white-listed:
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
		// A redirect, 403 or 404 is of a proxy, or of a host that is not WeChat's. No item is at fault, so none may fail
		// for it; nothing of the app works until base_url or the network is put right.
		e.Class = ClassApp
	}
	return e
}
