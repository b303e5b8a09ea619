package main

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync"
	"testing"
)

// gate stands between the workers and the simulator, and holds the requests for open data until the test lets them go: so
// what is to happen while WeChat has not answered does, on a machine of any speed.
type gate struct {
	*httptest.Server

	mu     sync.Mutex
	lets   int           // more requests that pass; guarded by mu
	held   int           // that came and did not pass at once, in all; guarded by mu
	opened chan struct{} // closed when all pass
}

// newGate puts a gate, which lets so many requests pass, in front of the site's simulator. The configuration is written anew.
func (s *site) newGate(t *testing.T, lets int) *gate {
	t.Helper()
	to, err := url.Parse(s.url)
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{lets: lets, opened: make(chan struct{})}
	proxy := &httputil.ReverseProxy{
		Rewrite:      func(r *httputil.ProxyRequest) { r.SetURL(to) },
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
		Transport:    &http.Transport{MaxIdleConnsPerHost: 100},
	}
	g.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/wxa/getopendata" && !g.passes(r) {
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		g.CloseClientConnections()
		g.Close()
		proxy.Transport.(*http.Transport).CloseIdleConnections()
	})
	s.wechatURL = g.URL
	return g
}

// passes returns when a request may go on, or false when its client has left.
func (g *gate) passes(r *http.Request) bool {
	g.mu.Lock()
	g.lets--
	if g.lets >= 0 {
		g.mu.Unlock()
		return true
	}
	g.held++
	g.mu.Unlock()
	select {
	case <-g.opened:
		return r.Context().Err() == nil
	case <-r.Context().Done():
		return false
	}
}

// holds counts the requests that have been held.
func (g *gate) holds() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.held
}

// hold lets nothing more pass.
func (g *gate) hold() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.lets = 0
}

// open lets everything pass, also what is held.
func (g *gate) open() { close(g.opened) }
