package httpapi

import (
	"net/http"
	"net/netip"
	"time"
)

// SetStreamTiming sets the timeouts of long-lived requests. Call it before Run.
func (s *Server) SetStreamTiming(read, queueWait, poll, keepAlive time.Duration) {
	s.timing.read, s.timing.queueWait, s.timing.poll, s.timing.keepAlive = read, queueWait, poll,
		keepAlive
}

// SetHTTPTiming sets the timeouts for a header, for a request, for the next request, and for
// writing a response. Call it before Run.
func (s *Server) SetHTTPTiming(header, read, idle, response time.Duration) {
	s.timing.header, s.timing.read, s.timing.idle, s.timing.response = header, read, idle, response
}

// SetUploadTiming sets how long a body may be slow if all slots are taken, and how long a new
// upload waits for a slot.
func (s *Server) SetUploadTiming(slowBody, slotWait time.Duration) {
	s.timing.slowBody, s.timing.slotWait = slowBody, slotWait
}

// SetConnTiming sets how long an anonymous connection gets to send a header if another one needs
// its slot, and how long a rejected client gets to read the response. Call it before Run.
func (s *Server) SetConnTiming(headerGrace, linger time.Duration) {
	s.timing.headerGrace, s.timing.linger = headerGrace, linger
}

// SetAttemptInterval sets the time after which an address regains one attempt with a wrong key.
// Call it before Run.
func (s *Server) SetAttemptInterval(every time.Duration) { s.failed.every = every }

// RereadEvery sets how often the server reads the certificate again.
func (s *Server) RereadEvery(d time.Duration) { s.certs.every = d }

// ClientOf returns the client's address that a server with these trusted proxies determines for r.
func ClientOf(trusted []netip.Prefix, r *http.Request) string {
	return proxies(trusted).clientOf(r).String()
}
