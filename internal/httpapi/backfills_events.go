package httpapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"cloudidq/internal/backfill"
)

// retryEvents is the delay after which a disconnected client reconnects, in milliseconds.
const retryEvents = 2000

// followEvents streams the progress of a backfill as server-sent events
// (https://html.spec.whatwg.org/multipage/server-sent-events.html). Each event holds all counts,
// so a client that misses an event loses nothing. Last-Event-ID is the revision of the counts
// that the client has. The stream does not repeat those counts.
func (h *backfills) followEvents(w http.ResponseWriter, r *http.Request) {
	bf, err := h.find(r.Context(), r.PathValue("id"), ScopeRead)
	if err != nil {
		writeError(w, err)
		return
	}
	last := r.Header.Get("Last-Event-ID")
	if bf.Finished() && last == eventID(bf) {
		w.WriteHeader(http.StatusNoContent) // the client does not reconnect after a 204
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // stops nginx from buffering the events
	if r.Method == http.MethodHead {
		return
	}
	s := newStream(w, h.timing.write)
	if s.printf("retry: %d\n\n", retryEvents) != nil {
		return
	}
	h.follow(s, r, bf, last)
}

// follow sends every change of the counts. It returns when the backfill has finished or no
// longer exists, the client disconnects, or the server stops.
func (h *backfills) follow(s *stream, r *http.Request, bf backfill.Backfill, last string) {
	poll := time.NewTicker(h.timing.poll)
	defer poll.Stop()
	for {
		if id := eventID(bf); id != last {
			if s.event(id, bf) != nil || bf.Finished() {
				return
			}
			last = id
		}
		if time.Since(s.wrote) >= h.timing.keepAlive && s.printf(": still here\n\n") != nil {
			return
		}
		select {
		case <-poll.C:
		case <-r.Context().Done():
			return
		case <-h.stopping.Done():
			return
		}
		now, err := h.store.Get(r.Context(), bf.ID)
		if errors.Is(err, backfill.ErrNotFound) {
			return
		}
		if err == nil { // on an error, keep the old counts until the next tick
			bf = now
		}
	}
}

// eventID returns the id for the counts of a backfill. The final event has an id of its own,
// because it also goes to clients that already have the counts.
func eventID(bf backfill.Backfill) string {
	id := strconv.FormatInt(bf.Revision, 10)
	if bf.Finished() {
		id += "-done"
	}
	return id
}

// stream writes to a client that may be slow. A write fails if the client takes longer than
// patience.
type stream struct {
	w       http.ResponseWriter
	conn    *http.ResponseController
	timeout time.Duration
	wrote   time.Time
}

// newStream returns a stream to w. It removes the server's read timeout for whole requests from
// the connection.
func newStream(w http.ResponseWriter, timeout time.Duration) *stream {
	conn := http.NewResponseController(w)
	_ = conn.SetReadDeadline(time.Time{})
	return &stream{w: w, conn: conn, timeout: timeout, wrote: time.Now()}
}

// Write implements [io.Writer].
func (s *stream) Write(text []byte) (int, error) {
	s.wrote = time.Now()
	_ = s.conn.SetWriteDeadline(s.wrote.Add(s.timeout))
	return s.w.Write(text)
}

// printf writes formatted text and flushes it.
func (s *stream) printf(format string, args ...any) error {
	if _, err := fmt.Fprintf(s, format, args...); err != nil {
		return err
	}
	return s.conn.Flush()
}

// event sends the counts as a progress event, or as a done event if the backfill has finished.
func (s *stream) event(id string, bf backfill.Backfill) error {
	name := "progress"
	if bf.Finished() {
		name = "done"
	}
	text, err := json.Marshal(bf)
	if err != nil {
		return err
	}
	return s.printf("event: %s\nid: %s\ndata: %s\n\n", name, id, text)
}
