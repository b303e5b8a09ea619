package httpapi

import (
	"container/list"
	"net"
	"net/netip"
	"sync"
	"time"
)

// connLimiter is the listener of a server. It limits the number of connections without locking
// out new clients. A connection is anonymous until it has presented a valid key.
//
// If there are too many anonymous connections in total or from one address, connLimiter closes
// the oldest ones. Each of them first gets a short time to send the header of a request
// ([timing.headerGrace]). So a flood from any number of addresses delays a client with a valid
// key by that time at most.
type connLimiter struct {
	net.Listener
	maxConns int // maximum number of open connections
	// maxPerAddress is the maximum number of anonymous connections from one address, apart from
	// those that are still within headerGrace.
	maxPerAddress int
	proxies       proxies
	headerGrace   time.Duration // time for an anonymous connection to send a header
	linger        time.Duration // time for a rejected client to read the response
	closed        chan struct{}
	closeOnce     sync.Once

	mu sync.Mutex // guards the fields below, and the fields of trackedConn that say so
	// open is the number of open connections, and lingering the number of closed ones that
	// linger.
	open      int
	anonymous *list.List                  // anonymous connections, the oldest first
	byPrefix  map[netip.Prefix]*list.List // the same by [clientPrefix], the oldest first
	lingering int
	// freed is closed and replaced when a connection closes, or stops being anonymous.
	freed chan struct{}
}

// newConnLimiter returns a connLimiter that limits the connections of a listener. Closing it
// closes the listener.
func newConnLimiter(listener net.Listener, cfg Config, t *timing) *connLimiter {
	return &connLimiter{
		Listener: listener,
		maxConns: cfg.MaxConnections, maxPerAddress: perAddressLimit(cfg.MaxConnections),
		proxies: cfg.TrustedProxies, headerGrace: t.headerGrace, linger: t.linger,
		closed:    make(chan struct{}),
		anonymous: list.New(), byPrefix: make(map[netip.Prefix]*list.List), freed: make(chan struct{}),
	}
}

// perAddressLimit returns how many anonymous connections one address may have: a quarter of all
// connections. A proxy that is not in [Config.TrustedProxies] opens many connections at once,
// and each of them is anonymous until its header is read.
func perAddressLimit(maxConns int) int { return max(1, maxConns/4) }

// Accept implements [net.Listener]. It waits while the limit is reached and every anonymous
// connection is still within its time to send a header.
func (l *connLimiter) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	peer := addressIn(conn.RemoteAddr().String())
	c := &trackedConn{Conn: conn, limiter: l, proxied: l.proxies.trust(peer)}
	for {
		evicted, result := l.admit(c, peer, time.Now())
		closeAll(evicted)
		if result.admitted {
			return c, nil
		}
		if !l.wait(result) {
			_ = conn.Close()
			return nil, net.ErrClosed
		}
	}
}

// admission says whether a connection is admitted, or what it must wait for.
type admission struct {
	admitted bool
	freed    <-chan struct{} // if not admitted: closed when another connection closes
	wait     time.Duration   // time until the oldest anonymous connection may be closed; 0 = none
}

// wait waits until admit is worth another call. It reports false if the listener is closed.
func (l *connLimiter) wait(a admission) bool {
	var grace <-chan time.Time
	if a.wait > 0 {
		timer := time.NewTimer(a.wait)
		defer timer.Stop()
		grace = timer.C
	}
	select {
	case <-a.freed:
	case <-grace:
	case <-l.closed:
		return false
	}
	return true
}

// closeAll closes connections that were evicted.
func closeAll(evicted []*trackedConn) {
	for _, c := range evicted {
		_ = c.Conn.Close()
	}
}

// Close implements [net.Listener].
func (l *connLimiter) Close() error {
	l.closeOnce.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

// admit counts a connection as open if the limits allow it. It returns the connections that the
// caller must close to make room.
func (l *connLimiter) admit(
	c *trackedConn, peer netip.Addr, now time.Time,
) ([]*trackedConn, admission) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var evicted []*trackedConn
	if l.open >= l.maxConns {
		oldest := l.anonymous.Front()
		if oldest == nil {
			return nil, admission{freed: l.freed}
		}
		if wait := l.graceLeft(oldest, now); wait > 0 {
			return nil, admission{freed: l.freed, wait: wait}
		}
		evicted = append(evicted, l.evictLocked(oldest))
	}
	l.open++
	c.counted = true
	prefix := clientPrefix(peer)
	if c.proxied { // the first request shows which client the proxy serves
		prefix = netip.Prefix{}
	}
	return append(evicted, l.trackLocked(c, prefix, now)...), admission{admitted: true}
}

// graceLeft returns how long an anonymous connection still has to send a header.
func (l *connLimiter) graceLeft(e *list.Element, now time.Time) time.Duration {
	return l.headerGrace - now.Sub(e.Value.(*trackedConn).since)
}

// trackLocked adds a connection to the anonymous ones of an address. It returns the connections
// that the caller must close to make room. The zero prefix means that the address is unknown,
// and has no limit of its own. The caller holds l.mu.
func (l *connLimiter) trackLocked(
	c *trackedConn, prefix netip.Prefix, now time.Time,
) (evicted []*trackedConn) {
	if prefix.IsValid() {
		same := l.byPrefix[prefix]
		for same != nil && same.Len() >= l.maxPerAddress && l.graceLeft(same.Front(), now) <= 0 {
			evicted = append(evicted, l.evictLocked(same.Front()))
		}
	}
	c.prefix, c.since, c.inAnonymous = prefix, now, l.anonymous.PushBack(c)
	if !prefix.IsValid() {
		return evicted
	}
	same := l.byPrefix[prefix]
	if same == nil {
		same = list.New()
		l.byPrefix[prefix] = same
	}
	c.inPrefix = same.PushBack(c)
	return evicted
}

// untrackLocked removes a connection from the anonymous ones. The caller holds l.mu.
func (l *connLimiter) untrackLocked(c *trackedConn) {
	if c.inAnonymous == nil {
		return
	}
	l.anonymous.Remove(c.inAnonymous)
	c.inAnonymous = nil
	if c.inPrefix == nil {
		return
	}
	same := l.byPrefix[c.prefix]
	same.Remove(c.inPrefix)
	c.inPrefix = nil
	if same.Len() == 0 {
		delete(l.byPrefix, c.prefix)
	}
}

// evictLocked removes an anonymous connection and returns it. The caller holds l.mu, and closes
// the connection after it has released l.mu.
func (l *connLimiter) evictLocked(e *list.Element) *trackedConn {
	c := e.Value.(*trackedConn)
	l.removeLocked(c)
	return c
}

// removeLocked stops counting a connection as open. The caller holds l.mu.
func (l *connLimiter) removeLocked(c *trackedConn) {
	l.untrackLocked(c)
	if c.counted {
		c.counted = false
		l.open--
	}
	l.notifyLocked()
}

// notifyLocked wakes all goroutines in wait. The caller holds l.mu.
func (l *connLimiter) notifyLocked() {
	close(l.freed)
	l.freed = make(chan struct{})
}

// markAuthenticated records that a connection has presented a valid key. It is no longer
// anonymous.
func (l *connLimiter) markAuthenticated(c *trackedConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.inAnonymous != nil {
		l.untrackLocked(c)
		l.notifyLocked() // the oldest anonymous connection may be a different one now
	}
}

// setClient records the client that a trusted proxy now uses a connection for. The connection
// becomes anonymous again, even if its previous client had a valid key.
func (l *connLimiter) setClient(c *trackedConn, client netip.Addr) {
	l.mu.Lock()
	var evicted []*trackedConn
	if c.counted {
		l.untrackLocked(c)
		evicted = l.trackLocked(c, clientPrefix(client), time.Now())
	}
	l.mu.Unlock()
	closeAll(evicted)
}

// release frees the slot of a connection that closes. It reports whether the connection may
// linger.
func (l *connLimiter) release(c *trackedConn, wantsLinger bool) (linger bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.removeLocked(c)
	if !wantsLinger || l.lingering >= l.maxConns/8 {
		return false
	}
	l.lingering++
	return true
}

// lingerDone records that a connection has stopped lingering.
func (l *connLimiter) lingerDone() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lingering--
}
