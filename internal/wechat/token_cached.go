package wechat

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"cloudidq/internal/secret"
)

const (
	refreshAhead = 5 * time.Minute  // stable_token gives a new token in the last 5 minutes of the old one only
	minLife      = time.Minute      // no token is fetched anew sooner, whatever the endpoint says of its life
	maxLife      = 2 * time.Hour    // no token of WeChat's lives longer
	maxJitter    = 30 * time.Second // so that many processes do not all refresh at once

	minInterval     = 10 * time.Second // between two fetches: a storm of spurious 40001 is no storm of fetches
	minFailInterval = time.Second      // after a fetch that failed
)

// cachedTokens keeps the one token of an app. What differs between the ways to get one is fetch alone; what they share
// is here: one fetch at a time, refresh ahead of the end, compare and swap on refusal, a pause between fetches. It never
// asks WeChat for more than fetch does: force_refresh voids the token that other processes hold.
type cachedTokens struct {
	param    string
	interval time.Duration // between two fetches
	fetch    func(ctx context.Context) (grant, *Error)
	detach   func(ctx context.Context, f func(context.Context)) // runs f beside the caller
	shared   *sharedTokens                                      // nil: this process is on its own

	mu        sync.Mutex // guards what follows
	token     Token
	refused   bool      // WeChat refused the token
	refreshAt time.Time // from here on a new one is fetched
	expires   time.Time // from here on the token is not used
	notBefore time.Time // no fetch begins earlier
	failure   *Error    // of the last fetch; nil if it brought a token
	flight    *flight   // the fetch under way, if any
}

// flight is one fetch and those who wait for it. Its result may be read once done is closed.
type flight struct {
	done    chan struct{}
	token   Token
	failure *Error
}

// Token implements [TokenSource].
func (s *cachedTokens) Token(ctx context.Context) (Token, error) {
	token, failure, flight := s.now(ctx, time.Now())
	if flight != nil {
		select {
		case <-flight.done:
			token, failure = flight.token, flight.failure
		case <-ctx.Done():
			return Token{}, context.Cause(ctx)
		}
	}
	if failure != nil {
		return Token{}, failure
	}
	return token, nil
}

// now returns a token, an error, or a fetch to wait for.
func (s *cachedTokens) now(ctx context.Context, now time.Time) (Token, *Error, *flight) {
	s.mu.Lock()
	defer s.mu.Unlock()
	alive := now.Before(s.expires)
	if alive && !s.refused && now.Before(s.refreshAt) {
		return s.token, nil, nil
	}
	if s.flight == nil && !now.Before(s.notBefore) {
		s.flight = &flight{done: make(chan struct{})}
		s.detach(ctx, func(ctx context.Context) { s.run(ctx) })
	}
	switch {
	case alive && !s.refused:
		return s.token, nil, nil // good for minutes yet; nobody waits for the refresh
	case s.flight != nil:
		return Token{}, nil, s.flight
	case s.failure != nil:
		return Token{}, s.failure, nil
	default:
		// Fetched a moment ago and refused already. WeChat does so at times with a token that is good (12,579 of 27,795
		// calls within 26 minutes, https://developers.weixin.qq.com/community/personal/oCJUsw5Gtfz2YhL0_jK520KjYHFI/answer),
		// so it is used again until the next fetch is due.
		return s.token, nil, nil
	}
}

// run fetches once and tells all who wait.
func (s *cachedTokens) run(ctx context.Context) {
	got, failure := s.obtain(ctx)
	if failure == nil && got.token.Empty() {
		failure = &Error{Class: ClassRetry, Message: textTokens + "no token in the answer"}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keep(got, failure, time.Now())
	s.flight.token, s.flight.failure = s.token, failure
	close(s.flight.done)
	s.flight = nil
}

// obtain fetches, or takes what another process has fetched.
func (s *cachedTokens) obtain(ctx context.Context) (grant, *Error) {
	if s.shared == nil {
		return s.fetch(ctx)
	}
	s.mu.Lock()
	var refused secret.Text
	if s.refused {
		refused = s.token.Value
	}
	s.mu.Unlock()
	return s.shared.obtain(ctx, refused, s.fetch)
}

// keep takes over the result of a fetch. s.mu is held.
func (s *cachedTokens) keep(got grant, failure *Error, now time.Time) {
	s.failure = failure
	if failure != nil {
		s.notBefore = now.Add(minFailInterval)
		return
	}
	life := min(max(got.life, minLife), maxLife)
	ahead := max(minLife, life-refreshAhead)
	s.token = Token{Param: s.param, Value: got.token}
	s.refused = false
	s.expires = now.Add(life)
	s.refreshAt = now.Add(ahead + jitter(ahead))
	s.notBefore = now.Add(s.interval)
}

// jitter returns a random part of a tenth of d, of maxJitter at most. It is added: a refresh that comes before the last
// 5 minutes of a token would bring the same one again.
func jitter(d time.Duration) time.Duration {
	return rand.N(min(d/10, maxJitter))
}

// Reject implements [TokenSource].
func (s *cachedTokens) Reject(_ context.Context, t Token) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.Param == s.token.Param && t.Value.Equal(s.token.Value) {
		s.refused = true
	}
}
