package httpapi

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// keyLimiter limits the 401 responses to wrong keys per address: ten at once, then one every six
// seconds. The authenticator consults it only for wrong keys, so it never locks out a valid key.
// It drops an address that has regained its full allowance. If there are still too many
// addresses, it drops all.
type keyLimiter struct {
	every time.Duration // until an address regains one attempt

	mu       sync.Mutex
	byPrefix map[netip.Prefix]*rate.Limiter // by [neighbours]; guarded by mu
}

const (
	attemptBurst    = 10
	attemptInterval = 6 * time.Second
	maxAddresses    = 10_000
)

func newKeyLimiter() *keyLimiter {
	return &keyLimiter{every: attemptInterval, byPrefix: make(map[netip.Prefix]*rate.Limiter)}
}

// allow records a wrong key. It reports whether its address is still within the limit.
func (l *keyLimiter) allow(address netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.byPrefix) >= maxAddresses {
		l.evictLocked()
	}
	from := clientPrefix(address)
	attempts := l.byPrefix[from]
	if attempts == nil {
		attempts = rate.NewLimiter(rate.Every(l.every), attemptBurst)
		l.byPrefix[from] = attempts
	}
	return attempts.Allow()
}

// evictLocked drops the addresses that are back at the full allowance, or all if too many are left.
// The caller holds l.mu.
func (l *keyLimiter) evictLocked() {
	for address, attempts := range l.byPrefix {
		if attempts.Tokens() >= attemptBurst {
			delete(l.byPrefix, address)
		}
	}
	if len(l.byPrefix) >= maxAddresses {
		clear(l.byPrefix)
	}
}
