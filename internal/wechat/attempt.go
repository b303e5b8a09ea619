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

// reply is what came back over HTTP.
type reply struct {
	status int
	body   []byte
}

// post sends one request and reads its answer, of limit bytes at most. Nothing is sent after the moment by; the zero
// time sets no limit. Its errors are errLate, if nothing was sent for that reason, and otherwise *Error. It calls the
// transport itself: a redirect is an answer then, and there is no *url.Error, which would show the token.
func (c *Client) post(ctx context.Context, to url.URL, content []byte, by time.Time, limit int64) (reply, error) {
	attempt, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	payload := &payload{content: content, by: by}
	if !by.IsZero() && time.Until(by) < c.timeout {
		attempt = httptrace.WithClientTrace(attempt, &httptrace.ClientTrace{GotConn: payload.gotConn})
	}
	request := &http.Request{
		Method:        http.MethodPost,
		URL:           &to,
		Host:          to.Host,
		Header:        c.header,
		Body:          payload.open(),
		GetBody:       payload.reopen,
		ContentLength: int64(len(content)),
	}
	response, err := c.transport.RoundTrip(request.WithContext(attempt))
	if err != nil && payload.late {
		return reply{}, errLate
	}
	if err != nil {
		return reply{}, fault(ctx, err)
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := readAll(response, limit)
	if err != nil {
		return reply{}, fault(ctx, err)
	}
	return reply{status: response.StatusCode, body: answer}, nil
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

// late reports whether the moment by lies before now.
func late(by, now time.Time) bool { return !by.IsZero() && now.After(by) }

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
