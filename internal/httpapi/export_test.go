package httpapi

import (
	"net/http"
	"net/netip"
	"time"
)

// Hurry lets the long-lived requests of a server wait that long, before it runs.
func (s *Server) Hurry(read, room, look, beat time.Duration) {
	s.pace.read, s.pace.room, s.pace.look, s.pace.beat = read, room, look, beat
}

// Cut lets a server, before it runs, wait that long for a head, a request, the next one, and for an answer to be taken.
func (s *Server) Cut(header, read, idle, answer time.Duration) {
	s.pace.header, s.pace.read, s.pace.idle, s.pace.answer = header, read, idle, answer
}

// Crowd lets a body, where all places are taken, be slow for that long, and a newcomer wait for a place.
func (s *Server) Crowd(slow, place time.Duration) { s.pace.slow, s.pace.place = slow, place }

// Strangers lets a server, before it runs, wait that long for the head of a stranger whose place others want, and for a
// client to take its refusal.
func (s *Server) Strangers(moment, linger time.Duration) {
	s.pace.moment, s.pace.linger = moment, linger
}

// Tries lets an address, before the server runs, wait that long until it has earned a try of a wrong key back.
func (s *Server) Tries(every time.Duration) { s.failed.every = every }

// RereadEvery lets a server look for a new certificate that often.
func (s *Server) RereadEvery(d time.Duration) { s.certs.every = d }

// ClientOf is where a server with such proxies believes a request to come from.
func ClientOf(trusted []netip.Prefix, r *http.Request) string {
	return proxies(trusted).clientOf(r).String()
}
