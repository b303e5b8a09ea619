package store_test

import (
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
)

// proxy stands between a store and its server and counts round trips: how often the client speaks after the server. It can
// stall: connections stay and are taken, and nothing comes through any more.
type proxy struct {
	dsn     string
	trips   atomic.Int64
	stalled atomic.Bool

	mu    sync.Mutex
	conns []net.Conn // guarded by mu
}

// stall lets nothing through.
func (p *proxy) stall() { p.stalled.Store(true) }

// resume ends a stall, and the connections that have seen it.
func (p *proxy) resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, conn := range p.conns {
		_ = conn.Close()
	}
	p.stalled.Store(false)
}

func newProxy(t *testing.T, dsn string) *proxy {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	server := u.Host
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u.Host = ln.Addr().String()
	p := &proxy{dsn: u.String()}
	var all sync.WaitGroup
	t.Cleanup(func() { _ = ln.Close(); all.Wait() })
	all.Go(func() {
		for {
			client, err := ln.Accept()
			if err != nil {
				return
			}
			upstream, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", server)
			if err != nil {
				_ = client.Close()
				continue
			}
			p.mu.Lock()
			p.conns = append(p.conns, client, upstream)
			p.mu.Unlock()
			var waiting atomic.Bool // the client for the server
			all.Go(func() {
				p.carry(upstream, client, func() {
					if waiting.CompareAndSwap(false, true) {
						p.trips.Add(1)
					}
				})
			})
			all.Go(func() { p.carry(client, upstream, func() { waiting.Store(false) }) })
		}
	})
	return p
}

// carry copies from one end to the other until either closes, then closes both. What is read while the proxy stalls is lost.
func (p *proxy) carry(to, from net.Conn, seen func()) {
	defer func() { _, _ = to.Close(), from.Close() }()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 && !p.stalled.Load() {
			seen()
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
