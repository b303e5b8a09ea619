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
)

// take loads the body into the backfill until the body ends. The server's read timeout covers
// whole requests, so take sets a deadline of its own for each read.
//
// take ignores the cancellation of the request's context. If the client disconnects, the read
// returns an error, and take still enqueues the lines received so far.
func (h *backfills) take(w http.ResponseWriter, r *http.Request, at backfill.Loading, place *upstream) (backfill.Backfill, error) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.Context()))
	defer cancel()
	defer context.AfterFunc(h.stopping, cancel)()
	body := &patient{body: r.Body, conn: http.NewResponseController(w), patience: h.pace.read, place: place}
	return h.loader.Load(ctx, at, lines.New(body, lines.NDJSON), backfill.Options{Unblock: body.leave, MaxFull: h.pace.room})
}

// patient reads a body and allows the client some time for each read.
type patient struct {
	body     io.Reader
	conn     *http.ResponseController
	patience time.Duration
	place    *upstream

	mu    sync.Mutex
	ended bool // the body has ended, a read has failed, or leave was called
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
	// Ignore the error. If the connection has no deadlines, the read has no timeout.
	_ = p.conn.SetReadDeadline(time.Now().Add(p.patience))
	p.mu.Unlock()
	n, err := p.body.Read(into)
	p.place.got(n, time.Now())
	if err != nil {
		p.end(time.Time{}) // net/http reads on to detect a disconnect; an old deadline would look like one
	}
	return n, err
}

// leave interrupts a read in progress and fails later ones.
func (p *patient) leave() { p.end(time.Now()) }

// end marks the body as ended and sets the connection's read deadline, both at most once.
func (p *patient) end(deadline time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.ended {
		p.ended = true
		_ = p.conn.SetReadDeadline(deadline)
	}
}
