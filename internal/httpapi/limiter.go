package httpapi

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// limiter bounds the answers to wrong keys by the address they come from: ten at once, then one in six seconds. It is not
// asked about right keys, so it locks out nobody. It forgets an address that has earned its tries back, and everybody if
// there are too many.
type limiter struct {
	every time.Duration // until an address has earned a try back

	mu sync.Mutex
	by map[netip.Prefix]*rate.Limiter // by [neighbours]; guarded by mu
}

const (
	triesAtOnce  = 10
	triesEvery   = 6 * time.Second
	maxAddresses = 10_000
)

func newLimiter() *limiter {
	return &limiter{every: triesEvery, by: make(map[netip.Prefix]*rate.Limiter)}
}

// wrong notes a wrong key, and reports whether its address may still be told so.
func (l *limiter) wrong(address netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.by) >= maxAddresses {
		l.forget()
	}
	from := neighbours(address)
	tries := l.by[from]
	if tries == nil {
		tries = rate.NewLimiter(rate.Every(l.every), triesAtOnce)
		l.by[from] = tries
	}
	return tries.Allow()
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
