package httpapi

import (
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"time"
)

// respondEarly sends the response and closes the connection without reading the rest of an unwanted
// body. By itself, [http.Server] reads that rest first, so that it can reuse the connection. A
// client without a key could then send a header and nothing else, and hold a connection for as
// long as a body may take.
func respondEarly(trusted proxies, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn := connOf(r.Context())
		if conn != nil && conn.proxied {
			conn.limiter.setClient(conn, trusted.clientOf(r))
		}
		if r.Body == nil || r.Body == http.NoBody {
			next.ServeHTTP(w, r)
			return
		}
		body := &trackedBody{ReadCloser: r.Body}
		answer := &earlyWriter{ResponseWriter: w, body: body}
		defer func() { answer.finish(conn) }()
		// Use a copy. The server checks the body of the original request to see what is left of it.
		r = r.WithContext(r.Context())
		r.Body = body
		next.ServeHTTP(answer, r)
	})
}

// trackedBody is a body that records whether it was read to its end.
type trackedBody struct {
	io.ReadCloser
	atEOF atomic.Bool // atomic, because another goroutine reads the body of a backfill
}

// Read implements [io.Reader].
func (h *trackedBody) Read(into []byte) (int, error) {
	n, err := h.ReadCloser.Read(into)
	if errors.Is(err, io.EOF) {
		h.atEOF.Store(true)
	}
	return n, err
}

// earlyWriter is a response that may be sent before the body has been read.
type earlyWriter struct {
	http.ResponseWriter
	body    *trackedBody
	started bool
}

// WriteHeader implements [http.ResponseWriter].
func (e *earlyWriter) WriteHeader(status int) {
	if !e.started && status >= http.StatusOK {
		e.start()
	}
	e.ResponseWriter.WriteHeader(status)
}

// Write implements [http.ResponseWriter].
func (e *earlyWriter) Write(text []byte) (int, error) {
	if !e.started {
		e.start()
	}
	return e.ResponseWriter.Write(text)
}

// Unwrap returns the wrapped writer, so that an [http.ResponseController] can reach the connection.
func (e *earlyWriter) Unwrap() http.ResponseWriter { return e.ResponseWriter }

// start announces that the connection closes, unless the body was read completely.
func (e *earlyWriter) start() {
	e.started = true
	if !e.body.atEOF.Load() {
		e.Header().Set("Connection", "close")
	}
}

// finish prevents the server from waiting for the rest of the body.
func (e *earlyWriter) finish(conn *trackedConn) {
	if e.body.atEOF.Load() {
		return
	}
	if !e.started {
		e.start()
	}
	if conn != nil {
		conn.rejected.Store(true)
	}
	// A deadline in the past makes the server give up the body. Ignore the error: without
	// deadlines, the server waits.
	_ = http.NewResponseController(e.ResponseWriter).SetReadDeadline(time.Now())
}
