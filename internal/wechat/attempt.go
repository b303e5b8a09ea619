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

// errLate is what sending ends with if the moment after which nothing may be sent came first.
var errLate = errors.New("wechat: too late to send")

// call is one HTTP request.
type call struct {
	method  string
	to      url.URL
	header  http.Header // nil: that of every request of the client
	content []byte
	by      time.Time // nothing is sent after this moment; the zero time sets no limit
	limit   int64     // bytes of the answer at most
}

// reply is what came back over HTTP.
type reply struct {
	status  int
	sidecar bool // the answer passed the side-car of cloud hosting
	body    []byte
}

// headerSidecar is in every answer that came through the side-car of cloud hosting:
// https://developers.weixin.qq.com/miniprogram/dev/wxcloudrun/src/guide/weixin/open.html.
const headerSidecar = "X-Openapi-Seqid"

// do makes one call and reads its answer. Its errors are errLate, if nothing was sent because it was too late, and
// otherwise *Error. It calls the transport itself: a redirect is an answer then, and there is no *url.Error, which
// would show the token.
func (c *Client) do(ctx context.Context, call call) (reply, error) {
	attempt, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	payload := &payload{content: call.content, by: call.by}
	if !call.by.IsZero() { // however far away: the process may be stopped at any instant
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
		return reply{}, fault(ctx, err)
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := readAll(response, call.limit)
	if err != nil {
		return reply{}, fault(ctx, err)
	}
	return reply{status: response.StatusCode, sidecar: response.Header.Get(headerSidecar) != "", body: answer}, nil
}

// payload is the body of one request.
type payload struct {
	content []byte
	by      time.Time

	reader *bytes.Reader // the one opened last
	late   bool
}

// open returns the body as a type that net/http knows to be in memory. With another it would send the header alone
// first, in a packet of its own (transferWriter.FlushHeaders).
func (p *payload) open() io.ReadCloser {
	p.reader = bytes.NewReader(p.content)
	return io.NopCloser(p.reader)
}

// reopen serves the transport that sends anew because a connection proved dead before the first byte.
func (p *payload) reopen() (io.ReadCloser, error) {
	if p.late {
		return nil, errLate // else it would spend one idle connection after the other
	}
	return p.open(), nil
}

// gotConn looks at the clock after dialing, or after waiting for a free connection, and before the first byte. If it is
// late it takes the content away: the transport finds the body shorter than announced and drops the connection, with the
// header still in its buffer. To cancel the context would not do, as nobody looks at it any more before writing.
func (p *payload) gotConn(httptrace.GotConnInfo) {
	if late(p.by, time.Now()) {
		p.late = true
		p.reader.Reset(nil)
	}
}

// late reports whether the moment by lies before now, by the monotonic clock or by that of the day: the first stands still
// while the machine sleeps, the second may be set back.
func late(by, now time.Time) bool {
	return !by.IsZero() && (now.After(by) || now.Round(0).After(by.Round(0)))
}

// readAll reads the body, unless it is longer than limit. It trusts Content-Length only to make room.
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
