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

// loadBody loads the body into the backfill until the body ends. The server's read timeout covers
// whole requests, so loadBody sets a deadline of its own for each read.
//
// loadBody ignores the cancellation of the request's context. If the client disconnects, the read
// returns an error, and loadBody still enqueues the lines received so far.
func (h *backfills) loadBody(
	w http.ResponseWriter, r *http.Request, at backfill.Loading, slot *uploadSlot,
) (backfill.Backfill, error) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.Context()))
	defer cancel()
	defer context.AfterFunc(h.stopping, cancel)()
	body := &timedBody{body: r.Body, conn: http.NewResponseController(w), timeout: h.timing.read,
		slot: slot}
	return h.loader.Load(ctx, at, lines.New(body, lines.NDJSON),
		backfill.Options{Unblock: body.interrupt, MaxFull: h.timing.queueWait})
}

// timedBody is a body with a timeout for each read.
type timedBody struct {
	body    io.Reader
	conn    *http.ResponseController
	timeout time.Duration
	slot    *uploadSlot

	mu   sync.Mutex
	done bool // the body has ended, a read has failed, or interrupt was called
}

// Read implements [io.Reader].
func (p *timedBody) Read(into []byte) (int, error) {
	p.mu.Lock()
	if p.done {
		p.mu.Unlock()
		return 0, io.ErrClosedPipe
	}
	if !p.slot.startRead(time.Now(), p.interrupt) {
		p.done = true
		p.mu.Unlock()
		return 0, os.ErrDeadlineExceeded
	}
	// Ignore the error. If the connection has no deadlines, the read has no timeout.
	_ = p.conn.SetReadDeadline(time.Now().Add(p.timeout))
	p.mu.Unlock()
	n, err := p.body.Read(into)
	p.slot.finishRead(n, time.Now())
	if err != nil {
		// net/http reads on to detect a disconnect; an old deadline would look like one.
		p.finish(time.Time{})
	}
	return n, err
}

// interrupt stops a read in progress and fails later ones.
func (p *timedBody) interrupt() { p.finish(time.Now()) }

// finish marks the body as done and sets the connection's read deadline, both at most once.
func (p *timedBody) finish(deadline time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.done {
		p.done = true
		_ = p.conn.SetReadDeadline(deadline)
	}
}
