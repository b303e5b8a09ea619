package httpapi

import (
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"time"
)

// atOnce sends the response and closes the connection without reading the rest of an unwanted
// body. By itself, [http.Server] reads that rest first, so that it can reuse the connection. A
// client without a key could then send a header and nothing else, and hold a connection for as
// long as a body may take.
func atOnce(proxied proxies, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v := visitorOf(r.Context())
		if v != nil && v.proxied {
			v.door.meet(v, proxied.clientOf(r))
		}
		if r.Body == nil || r.Body == http.NoBody {
			next.ServeHTTP(w, r)
			return
		}
		body := &heard{ReadCloser: r.Body}
		answer := &early{ResponseWriter: w, body: body}
		defer func() { answer.end(v) }()
		// Use a copy. The server checks the body of the original request to see what is left of it.
		r = r.WithContext(r.Context())
		r.Body = body
		next.ServeHTTP(answer, r)
	})
}

// heard is a body that records whether it was read to its end.
type heard struct {
	io.ReadCloser
	whole atomic.Bool // atomic, because another goroutine reads the body of a backfill
}

// Read implements [io.Reader].
func (h *heard) Read(into []byte) (int, error) {
	n, err := h.ReadCloser.Read(into)
	if errors.Is(err, io.EOF) {
		h.whole.Store(true)
	}
	return n, err
}

// early is a response that may be sent before the body has arrived.
type early struct {
	http.ResponseWriter
	body  *heard
	begun bool
}

// WriteHeader implements [http.ResponseWriter].
func (e *early) WriteHeader(status int) {
	if !e.begun && status >= http.StatusOK {
		e.begin()
	}
	e.ResponseWriter.WriteHeader(status)
}

// Write implements [http.ResponseWriter].
func (e *early) Write(text []byte) (int, error) {
	if !e.begun {
		e.begin()
	}
	return e.ResponseWriter.Write(text)
}

// Unwrap returns the wrapped writer, so that an [http.ResponseController] can reach the connection.
func (e *early) Unwrap() http.ResponseWriter { return e.ResponseWriter }

// begin tells the client that the connection closes, unless the body was read completely.
func (e *early) begin() {
	e.begun = true
	if !e.body.whole.Load() {
		e.Header().Set("Connection", "close")
	}
}

// end prevents the server from waiting for the rest of the body.
func (e *early) end(v *visitor) {
	if e.body.whole.Load() {
		return
	}
	if !e.begun {
		e.begin()
	}
	if v != nil {
		v.refused.Store(true)
	}
	// A deadline in the past makes the server give up the body. Ignore the error: without
	// deadlines, the server waits.
	_ = http.NewResponseController(e.ResponseWriter).SetReadDeadline(time.Now())
}
