package httpapi

import (
	"net/http"
	"net/netip"
	"time"
)

// Hurry sets the timeouts of long-lived requests. Call it before Run.
func (s *Server) Hurry(read, room, look, beat time.Duration) {
	s.pace.read, s.pace.room, s.pace.look, s.pace.beat = read, room, look, beat
}

// Cut sets the timeouts for a header, for a request, for the next request, and for writing a
// response. Call it before Run.
func (s *Server) Cut(header, read, idle, answer time.Duration) {
	s.pace.header, s.pace.read, s.pace.idle, s.pace.answer = header, read, idle, answer
}

// Crowd sets how long a body may be slow if all places are taken, and how long a new upload
// waits for a place.
func (s *Server) Crowd(slow, place time.Duration) { s.pace.slow, s.pace.place = slow, place }

// Strangers sets how long a stranger gets to send a header if another connection needs its
// place, and how long a rejected client gets to read the response. Call it before Run.
func (s *Server) Strangers(moment, linger time.Duration) {
	s.pace.moment, s.pace.linger = moment, linger
}

// Tries sets the time after which an address regains one attempt with a wrong key. Call it
// before Run.
func (s *Server) Tries(every time.Duration) { s.failed.every = every }

// RereadEvery sets how often the server reads the certificate again.
func (s *Server) RereadEvery(d time.Duration) { s.certs.every = d }

// ClientOf returns the client's address that a server with these trusted proxies determines for r.
func ClientOf(trusted []netip.Prefix, r *http.Request) string {
	return proxies(trusted).clientOf(r).String()
}
