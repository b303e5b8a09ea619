package wechat

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"time"
)

// errLate says that nothing was sent because the time limit of the call has passed.
var errLate = errors.New("wechat: too late to send")

// call is one HTTP request.
type call struct {
	method  string
	to      url.URL
	header  http.Header // nil means the client's default header
	content []byte
	by      time.Time // nothing is sent after this time; the zero time sets no limit
	limit   int64     // maximum size of the answer in bytes
}

// reply is the HTTP answer to a call.
type reply struct {
	status  int
	sidecar bool // the answer passed the side-car of cloud hosting
	body    []byte
}

// headerSidecar is set in every answer that passed the side-car of cloud hosting:
// https://developers.weixin.qq.com/miniprogram/dev/wxcloudrun/src/guide/weixin/open.html.
const headerSidecar = "X-Openapi-Seqid"

// do makes one call and reads its answer. It returns errLate if nothing was sent because it was
// too late. Every other error is an *Error. do calls the transport directly instead of an
// http.Client. Therefore a redirect is an ordinary answer, and no error is a *url.Error, whose
// text would contain the token.
func (c *Client) do(ctx context.Context, call call) (reply, error) {
	attempt, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	payload := &payload{content: call.content, by: call.by}
	if !call.by.IsZero() { // even if the limit is far away: the process may be stopped at any time
		attempt = httptrace.WithClientTrace(attempt, &httptrace.ClientTrace{GotConn: payload.gotConn})
	}
	request := &http.Request{
		Method: call.method,
		URL:    &call.to,
		Host:   call.to.Host,
		Header: call.header,
	}
	if request.Header == nil {
		request.Header = c.header
	}
	if call.content != nil {
		request.Body, request.GetBody, request.ContentLength = payload.open(), payload.reopen, int64(len(call.content))
	}
	response, err := c.transport.RoundTrip(request.WithContext(attempt))
	if err != nil && payload.late {
		return reply{}, errLate
	}
	if err != nil {
		return reply{}, transportError(ctx, err)
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := readAll(response, call.limit)
	if err != nil {
		return reply{}, transportError(ctx, err)
	}
	return reply{status: response.StatusCode, sidecar: response.Header.Get(headerSidecar) != "", body: answer}, nil
}

// payload is the body of one request. It checks the time limit just before the first byte is
// sent.
type payload struct {
	content []byte
	by      time.Time

	reader *bytes.Reader // the reader that was opened last
	late   bool
}

// open returns the body as a type that net/http recognizes as an in-memory body. For any other
// type, net/http would first send the header alone, in its own packet
// (transferWriter.FlushHeaders).
func (p *payload) open() io.ReadCloser {
	p.reader = bytes.NewReader(p.content)
	return io.NopCloser(p.reader)
}

// reopen returns a new body if the transport resends the request because a connection was dead
// before the first byte.
func (p *payload) reopen() (io.ReadCloser, error) {
	if p.late {
		return nil, errLate // without the error, the transport would use up one idle connection after another
	}
	return p.open(), nil
}

// gotConn checks the time limit when the transport has a connection, before the first byte.
// Dialing, or waiting for a free connection, may have taken long. If it is too late, gotConn
// empties the body. The transport then finds the body shorter than announced and drops the
// connection while the header is still in its buffer. Canceling the context would not help,
// because the transport does not check it again before it writes.
func (p *payload) gotConn(httptrace.GotConnInfo) {
	if late(p.by, time.Now()) {
		p.late = true
		p.reader.Reset(nil)
	}
}

// late reports whether the time by is before now, by the monotonic clock or by the wall clock.
// It needs both: the monotonic clock stops while the machine sleeps, and the wall clock may be
// set back.
func late(by, now time.Time) bool {
	return !by.IsZero() && (now.After(by) || now.Round(0).After(by.Round(0)))
}

// readAll reads the body, up to limit bytes; a longer body is an error. It uses Content-Length
// only to reserve memory.
func readAll(response *http.Response, limit int64) ([]byte, error) {
	if response.ContentLength > limit {
		return nil, tooLong(limit)
	}
	var answer bytes.Buffer
	if response.ContentLength > 0 {
		answer.Grow(int(response.ContentLength) + bytes.MinRead)
	}
	n, err := answer.ReadFrom(io.LimitReader(response.Body, limit+1))
	if err != nil {
		return nil, err
	}
	if n > limit {
		return nil, tooLong(limit)
	}
	return answer.Bytes(), nil
}

func tooLong(limit int64) error {
	return transient(fmt.Sprintf("answer exceeds %d bytes", limit))
}
