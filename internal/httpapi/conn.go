package httpapi

import (
	"container/list"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// trackedConn is a connection that a [connLimiter] has admitted.
type trackedConn struct {
	net.Conn
	limiter  *connLimiter
	proxied  bool        // the peer is a trusted proxy
	rejected atomic.Bool // the response was sent before the whole request was received
	once     sync.Once

	// Guarded by limiter.mu.
	counted               bool          // it counts as open
	prefix                netip.Prefix  // the client's address, while it is anonymous
	since                 time.Time     // when it became anonymous
	inAnonymous, inPrefix *list.Element // its elements in the limiter's lists; nil = not anonymous
}

// lingerBytes is how much of a rejected body is read and discarded, so that its sender gets the
// response.
const lingerBytes = 1 << 20

// Close implements [net.Conn]. It first frees the connection's slot in the limiter.
//
// A client that was rejected in the middle of its body is still sending. If the server closed
// the connection at once, the client's system would discard the response. So Close closes its
// own side of the connection and discards what arrives for a short time. The slot is already
// free by then, so this delays no other client.
func (c *trackedConn) Close() error {
	c.once.Do(func() {
		if c.limiter.release(c, c.rejected.Load()) {
			c.linger()
			c.limiter.lingerDone()
		}
	})
	return c.Conn.Close()
}

// linger discards incoming data until the client has had time to read the response.
func (c *trackedConn) linger() {
	if err := c.CloseWrite(); err != nil {
		return
	}
	_ = c.SetReadDeadline(time.Now().Add(c.limiter.linger))
	_, _ = io.CopyN(io.Discard, c.Conn, lingerBytes)
}

// CloseWrite signals the peer that no more data follows. [net/http.Server] calls it too.
func (c *trackedConn) CloseWrite() error {
	if tcp, ok := c.Conn.(*net.TCPConn); ok {
		return tcp.CloseWrite()
	}
	return net.ErrClosed
}

// connKey is the context key of the request's [trackedConn].
type connKey struct{}

// withConn stores the connection in the context. It is for [net/http.Server.ConnContext].
func withConn(ctx context.Context, conn net.Conn) context.Context {
	if secure, ok := conn.(*tls.Conn); ok {
		conn = secure.NetConn()
	}
	return context.WithValue(ctx, connKey{}, conn)
}

// connOf returns the connection of a request. It returns nil if no connLimiter has admitted it.
func connOf(ctx context.Context) *trackedConn {
	c, _ := ctx.Value(connKey{}).(*trackedConn)
	return c
}

// markAuthenticated records that a request is authenticated. Its connection is no longer
// anonymous, so it no longer makes way for new connections.
func markAuthenticated(ctx context.Context) {
	if c := connOf(ctx); c != nil {
		c.limiter.markAuthenticated(c)
	}
}
