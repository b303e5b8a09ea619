package httpapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"cloudidq/store"
)

// retryEvents is when a client whose connection has ended comes back, in milliseconds.
const retryEvents = 2000

// events streams how far a backfill is, as server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html).
// Each event holds all counts, so that a client which missed some has missed nothing: Last-Event-ID is the revision of the
// counts that it has, and it is not told them again.
func (h *backfills) events(w http.ResponseWriter, r *http.Request) {
	of, err := h.find(r.Context(), r.PathValue("id"), ScopeRead)
	if err != nil {
		answer(w, err)
		return
	}
	last := r.Header.Get("Last-Event-ID")
	if of.Finished() && last == eventID(of) {
		w.WriteHeader(http.StatusNoContent) // which tells the client not to come back
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // nginx would keep events back
	if r.Method == http.MethodHead {
		return
	}
	s := newStream(w, h.pace.write)
	if s.printf("retry: %d\n\n", retryEvents) != nil {
		return
	}
	h.follow(s, r, of, last)
}

// follow sends what changes until all has ended, the client leaves or the server stops.
func (h *backfills) follow(s *stream, r *http.Request, of store.Backfill, last string) {
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
		if errors.Is(err, store.ErrNoBackfill) {
			return
		}
		if err == nil { // else it is asked again; the counts stay what they were
			of = now
		}
	}
}

// eventID names the counts of an event. That of the end is one of its own, since it is told also to those who know the
// counts.
func eventID(of store.Backfill) string {
	id := strconv.FormatInt(of.Revision, 10)
	if of.Finished() {
		id += "-done"
	}
	return id
}

// stream writes to a client that may be slow, and notices one that does not read at all.
type stream struct {
	w        http.ResponseWriter
	conn     *http.ResponseController
	patience time.Duration
	wrote    time.Time
}

// newStream takes the server's time-out for whole requests off the connection.
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

// printf writes and flushes.
func (s *stream) printf(format string, args ...any) error {
	if _, err := fmt.Fprintf(s, format, args...); err != nil {
		return err
	}
	return s.conn.Flush()
}

// event sends the counts, as done if they are the last ones.
func (s *stream) event(id string, of store.Backfill) error {
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
