package httpapi

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// limiter limits the 401 responses to wrong keys per address: ten at once, then one every six
// seconds. The authenticator consults it only for wrong keys, so it never locks out a valid key.
// It drops an address that has regained its full allowance. If there are still too many
// addresses, it drops all.
type limiter struct {
	every time.Duration // until an address regains one attempt

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

// wrong records a wrong key. It reports whether its address is still within the limit.
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

// forget drops the addresses that are back at the full allowance, or all if too many are left.
// The caller holds l.mu.
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
