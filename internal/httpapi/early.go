package httpapi

import (
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"time"
)

// atOnce lets an answer go out, and its connection end, without the rest of a body that no handler wants. By itself
// [http.Server] reads it first, to be able to use the connection again: a client that sends a head and then nothing would
// hold a connection for as long as a body may take, without a key.
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
		// A copy: the server looks at the body of the original to see what is left of it.
		r = r.WithContext(r.Context())
		r.Body = body
		next.ServeHTTP(answer, r)
	})
}

// heard is a body that knows whether it was read to its end.
type heard struct {
	io.ReadCloser
	whole atomic.Bool // a backfill is read by a goroutine of its own
}

// Read implements [io.Reader].
func (h *heard) Read(into []byte) (int, error) {
	n, err := h.ReadCloser.Read(into)
	if errors.Is(err, io.EOF) {
		h.whole.Store(true)
	}
	return n, err
}

// early is an answer that may go out before the body has come.
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

// Unwrap is how an [http.ResponseController] reaches the connection.
func (e *early) Unwrap() http.ResponseWriter { return e.ResponseWriter }

func (e *early) begin() {
	e.begun = true
	if !e.body.whole.Load() {
		e.Header().Set("Connection", "close")
	}
}

// end keeps the server from waiting for what is left of the body.
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
	_ = http.NewResponseController(e.ResponseWriter).SetReadDeadline(time.Now()) // a connection without deadlines waits
}
