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

// visitor is a connection that has come in by the door.
type visitor struct {
	net.Conn
	door    *door
	proxied bool        // its other end is a trusted proxy
	refused atomic.Bool // it ends before its request has come as a whole
	once    sync.Once

	// Guarded by door.mu.
	inside        bool          // it has a place
	from          netip.Prefix  // whose it is, while it is a stranger
	since         time.Time     // when it became one
	among, nearby *list.Element // its places among the strangers; nil = it is none
}

// lingerBytes is how much of a body is thrown away, for its sender to get the answer.
const lingerBytes = 1 << 20

// Close implements [net.Conn]. It frees the place first. A client that was refused in the middle of its body still sends;
// were the connection closed at once, its system would throw away the answer with it. So the answer's end is shown, and
// what comes is thrown away for a moment, which holds up nobody.
func (v *visitor) Close() error {
	v.once.Do(func() {
		if v.door.leave(v, v.refused.Load()) {
			v.linger()
			v.door.lingered()
		}
	})
	return v.Conn.Close()
}

func (v *visitor) linger() {
	if err := v.CloseWrite(); err != nil {
		return
	}
	_ = v.SetReadDeadline(time.Now().Add(v.door.linger))
	_, _ = io.CopyN(io.Discard, v.Conn, lingerBytes)
}

// CloseWrite shows the other end that nothing more comes. [net/http.Server] asks for it, too.
func (v *visitor) CloseWrite() error {
	if tcp, ok := v.Conn.(*net.TCPConn); ok {
		return tcp.CloseWrite()
	}
	return net.ErrClosed
}

type visitorKey struct{}

// withVisitor is for [net/http.Server.ConnContext].
func withVisitor(ctx context.Context, conn net.Conn) context.Context {
	if secure, ok := conn.(*tls.Conn); ok {
		conn = secure.NetConn()
	}
	return context.WithValue(ctx, visitorKey{}, conn)
}

// visitorOf is the connection of a request; nil where it has not come in by a door.
func visitorOf(ctx context.Context) *visitor {
	v, _ := ctx.Value(visitorKey{}).(*visitor)
	return v
}

// vouch says that a request is of somebody who may come in: its connection does not give way to newcomers any more.
func vouch(ctx context.Context) {
	if v := visitorOf(ctx); v != nil {
		v.door.vouch(v)
	}
}
