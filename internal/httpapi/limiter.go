package httpapi

import (
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// limiter bounds wrong keys by the address they come from: ten at once, then one in six seconds. It forgets an address
// that has earned its tries back, and everybody if there are too many, which lets in more tries and never locks out.
type limiter struct {
	mu sync.Mutex
	by map[string]*rate.Limiter // guarded by mu
}

const (
	triesAtOnce  = 10
	triesEvery   = 6 * time.Second
	maxAddresses = 10_000
)

func newLimiter() *limiter { return &limiter{by: make(map[string]*rate.Limiter)} }

// allowed reports whether an address may try.
func (l *limiter) allowed(address string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	tries := l.by[address]
	return tries == nil || tries.Tokens() >= 1
}

// count notes a wrong key.
func (l *limiter) count(address string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.by) >= maxAddresses {
		l.forget()
	}
	tries := l.by[address]
	if tries == nil {
		tries = rate.NewLimiter(rate.Every(triesEvery), triesAtOnce)
		l.by[address] = tries
	}
	tries.Allow()
}

func (l *limiter) forget() {
	for address, tries := range l.by {
		if tries.Tokens() >= triesAtOnce {
			delete(l.by, address)
		}
	}
	if len(l.by) >= maxAddresses {
		clear(l.by)
	}
}

// addressOf is who sits at the other end of the connection; behind a proxy that is the proxy, for everybody together.
func addressOf(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}
