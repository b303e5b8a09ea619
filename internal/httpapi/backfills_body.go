package httpapi

import (
	"context"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	"cloudidq/internal/backfill"
	"cloudidq/internal/lines"
	"cloudidq/store"
)

// take reads the body to its end. The server's time-out is for requests as a whole, so this one sets its own for each read.
// A client that leaves is noticed by the read, and what it has sent comes in: so the request's own context is not heeded.
func (h *backfills) take(w http.ResponseWriter, r *http.Request, at store.Loading, place *upstream) (store.Backfill, error) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.Context()))
	defer cancel()
	defer context.AfterFunc(h.stopping, cancel)()
	body := &patient{body: r.Body, conn: http.NewResponseController(w), patience: h.pace.read, place: place}
	return h.loader.Load(ctx, at, lines.New(body, lines.NDJSON), backfill.Options{Unblock: body.leave, MaxFull: h.pace.room})
}

// patient reads a body and gives the client some time for each part of it.
type patient struct {
	body     io.Reader
	conn     *http.ResponseController
	patience time.Duration
	place    *upstream

	mu    sync.Mutex
	ended bool // by its end, an error, or because nobody reads any more; guarded by mu
}

// Read implements [io.Reader].
func (p *patient) Read(into []byte) (int, error) {
	p.mu.Lock()
	if p.ended {
		p.mu.Unlock()
		return 0, io.ErrClosedPipe
	}
	if !p.place.begin(time.Now(), p.leave) {
		p.ended = true
		p.mu.Unlock()
		return 0, os.ErrDeadlineExceeded
	}
	_ = p.conn.SetReadDeadline(time.Now().Add(p.patience)) // a connection without deadlines waits
	p.mu.Unlock()
	n, err := p.body.Read(into)
	p.place.got(n, time.Now())
	if err != nil {
		p.end(time.Time{}) // net/http goes on to read, to notice when the client leaves, and a time-out would look like that
	}
	return n, err
}

// leave ends a read that waits.
func (p *patient) leave() { p.end(time.Now()) }

func (p *patient) end(deadline time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.ended {
		p.ended = true
		_ = p.conn.SetReadDeadline(deadline)
	}
}
