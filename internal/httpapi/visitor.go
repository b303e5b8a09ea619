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

// visitor is a connection that a [door] has accepted.
type visitor struct {
	net.Conn
	door    *door
	proxied bool        // the peer is a trusted proxy
	refused atomic.Bool // the response was sent before the whole request was received
	once    sync.Once

	// Guarded by door.mu.
	inside        bool          // it has a place in the door
	from          netip.Prefix  // the client's address, while it is a stranger
	since         time.Time     // when it became a stranger
	among, nearby *list.Element // its elements in the door's lists; nil = not a stranger
}

// lingerBytes is how much of a rejected body is read and discarded, so that its sender gets the
// response.
const lingerBytes = 1 << 20

// Close implements [net.Conn]. It first frees the connection's place in the door.
//
// A client that was rejected in the middle of its body is still sending. If the server closed
// the connection at once, the client's system would discard the response. So Close ends its own
// side of the connection and discards what arrives for a short time. The place is already free
// by then, so this delays no other client.
func (v *visitor) Close() error {
	v.once.Do(func() {
		if v.door.leave(v, v.refused.Load()) {
			v.linger()
			v.door.lingered()
		}
	})
	return v.Conn.Close()
}

// linger discards incoming data until the client has had time to read the response.
func (v *visitor) linger() {
	if err := v.CloseWrite(); err != nil {
		return
	}
	_ = v.SetReadDeadline(time.Now().Add(v.door.linger))
	_, _ = io.CopyN(io.Discard, v.Conn, lingerBytes)
}

// CloseWrite signals the other end that no more data follows. [net/http.Server] calls it too.
func (v *visitor) CloseWrite() error {
	if tcp, ok := v.Conn.(*net.TCPConn); ok {
		return tcp.CloseWrite()
	}
	return net.ErrClosed
}

// visitorKey is the context key of the request's [visitor].
type visitorKey struct{}

// withVisitor stores the connection in the context. It is for [net/http.Server.ConnContext].
func withVisitor(ctx context.Context, conn net.Conn) context.Context {
	if secure, ok := conn.(*tls.Conn); ok {
		conn = secure.NetConn()
	}
	return context.WithValue(ctx, visitorKey{}, conn)
}

// visitorOf returns the connection of a request. It returns nil if no door accepted the connection.
func visitorOf(ctx context.Context) *visitor {
	v, _ := ctx.Value(visitorKey{}).(*visitor)
	return v
}

// vouch records that a request is authenticated. Its connection is no longer a stranger, so it
// no longer makes way for new connections.
func vouch(ctx context.Context) {
	if v := visitorOf(ctx); v != nil {
		v.door.vouch(v)
	}
}
