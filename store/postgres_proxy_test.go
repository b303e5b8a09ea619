package store_test

import (
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
)

// proxy forwards between a store and its server. It counts round trips: how often the client
// sends after the server has sent. It can stall: connections stay open and new ones are
// accepted, but no bytes pass.
type proxy struct {
	dsn     string
	trips   atomic.Int64
	stalled atomic.Bool

	mu    sync.Mutex
	conns []net.Conn // guarded by mu
}

// stall stops all traffic.
func (p *proxy) stall() { p.stalled.Store(true) }

// resume ends a stall and closes the connections that existed during it.
func (p *proxy) resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, conn := range p.conns {
		_ = conn.Close()
	}
	p.stalled.Store(false)
}

// newProxy starts a proxy in front of the server of dsn. The proxy closes with the test.
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
			var waiting atomic.Bool // the client is waiting for the server
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

// carry copies from one connection to the other until either closes, then closes both. Bytes
// that it reads during a stall are lost.
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
