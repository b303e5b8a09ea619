package httpapi

import "time"

// Hurry lets the long-lived requests of a server wait that long, before it runs.
func (s *Server) Hurry(read, room, look, beat time.Duration) {
	s.pace.read, s.pace.room, s.pace.look, s.pace.beat = read, room, look, beat
}

// RereadEvery lets a server look for a new certificate that often.
func (s *Server) RereadEvery(d time.Duration) { s.certs.every = d }
