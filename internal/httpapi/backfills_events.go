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

// events streams the progress of a backfill as server-sent events
// (https://html.spec.whatwg.org/multipage/server-sent-events.html). Each event holds all counts,
// so a client that misses an event loses nothing. Last-Event-ID is the revision of the counts
// that the client has. The stream does not repeat those counts.
func (h *backfills) events(w http.ResponseWriter, r *http.Request) {
	of, err := h.find(r.Context(), r.PathValue("id"), ScopeRead)
	if err != nil {
		answer(w, err)
		return
	}
	last := r.Header.Get("Last-Event-ID")
	if of.Finished() && last == eventID(of) {
		w.WriteHeader(http.StatusNoContent) // 204 tells the client not to reconnect
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // stops nginx from buffering the events
	if r.Method == http.MethodHead {
		return
	}
	s := newStream(w, h.pace.write)
	if s.printf("retry: %d\n\n", retryEvents) != nil {
		return
	}
	h.follow(s, r, of, last)
}

// follow sends every change of the counts. It returns when the backfill has finished or no
// longer exists, the client disconnects, or the server stops.
func (h *backfills) follow(s *stream, r *http.Request, of backfill.Backfill, last string) {
	look := time.NewTicker(h.pace.look)
	defer look.Stop()
	for {
		if id := eventID(of); id != last {
			if s.event(id, of) != nil || of.Finished() {
				return
			}
			last = id
		}
		if time.Since(s.wrote) >= h.pace.beat && s.printf(": still here\n\n") != nil {
			return
		}
		select {
		case <-look.C:
		case <-r.Context().Done():
			return
		case <-h.stopping.Done():
			return
		}
		now, err := h.store.Get(r.Context(), of.ID)
		if errors.Is(err, backfill.ErrNotFound) {
			return
		}
		if err == nil { // on an error, keep the old counts until the next tick
			of = now
		}
	}
}

// eventID returns the id for the counts of a backfill. The final event has an id of its own,
// because it also goes to clients that already have the counts.
func eventID(of backfill.Backfill) string {
	id := strconv.FormatInt(of.Revision, 10)
	if of.Finished() {
		id += "-done"
	}
	return id
}

// stream writes to a client that may be slow. A write fails if the client takes longer than
// patience.
type stream struct {
	w        http.ResponseWriter
	conn     *http.ResponseController
	patience time.Duration
	wrote    time.Time
}

// newStream returns a stream to w. It removes the server's read timeout for whole requests from
// the connection.
func newStream(w http.ResponseWriter, patience time.Duration) *stream {
	conn := http.NewResponseController(w)
	_ = conn.SetReadDeadline(time.Time{})
	return &stream{w: w, conn: conn, patience: patience, wrote: time.Now()}
}

// Write implements [io.Writer].
func (s *stream) Write(text []byte) (int, error) {
	s.wrote = time.Now()
	_ = s.conn.SetWriteDeadline(s.wrote.Add(s.patience))
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
func (s *stream) event(id string, of backfill.Backfill) error {
	name := "progress"
	if of.Finished() {
		name = "done"
	}
	text, err := json.Marshal(of)
	if err != nil {
		return err
	}
	return s.printf("event: %s\nid: %s\ndata: %s\n\n", name, id, text)
}
