package main

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync"
	"testing"
)

// gate is a proxy between the workers and the simulator. It blocks the requests for open data
// until the test opens it. With a gate a test can act while WeChat has not answered, on a
// machine of any speed.
type gate struct {
	*httptest.Server

	mu     sync.Mutex
	lets   int           // number of further requests that pass; guarded by mu
	blocks int           // total number of blocked requests; guarded by mu
	opened chan struct{} // closed when all requests may pass
}

// newGate puts a gate in front of the site's simulator and rewrites the configuration. The first
// lets requests pass.
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

// passes waits until a request may pass. It returns false if the client disconnects first.
func (g *gate) passes(r *http.Request) bool {
	g.mu.Lock()
	g.lets--
	if g.lets >= 0 {
		g.mu.Unlock()
		return true
	}
	g.blocks++
	g.mu.Unlock()
	select {
	case <-g.opened:
		return r.Context().Err() == nil
	case <-r.Context().Done():
		return false
	}
}

// blocked returns how many requests have been blocked.
func (g *gate) blocked() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.blocks
}

// close makes the gate block all further requests.
func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.lets = 0
}

// open lets all requests pass, including the blocked ones.
func (g *gate) open() { close(g.opened) }
