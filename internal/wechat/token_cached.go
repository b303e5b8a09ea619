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

	minFailInterval = time.Second // after a fetch that failed

	// lookEvery is how often a process that must not fetch a refused token anew looks whether another one has.
	lookEvery = 250 * time.Millisecond
)

// cachedTokens keeps the one token of an app. What differs between the ways to get one is fetch alone; what they share
// is here: one fetch at a time, refresh ahead of the end, compare and swap on refusal, the pace of fetches. It never asks
// WeChat for more than fetch does: force_refresh voids the token that other processes hold.
type cachedTokens struct {
	param  string
	pace   pace
	fetch  func(ctx context.Context) (grant, *Error)
	detach func(ctx context.Context, f func(context.Context)) // runs f beside the caller
	shared *sharedTokens                                      // nil: this process is on its own

	mu        sync.Mutex // guards what follows
	token     Token
	refusal   refusal   // of the token, by WeChat
	fetched   time.Time // the last fetch, of any process
	rows      rows      // as of then
	refreshAt time.Time // from here on a new one is fetched
	expires   time.Time // from here on the token is not used
	notBefore time.Time // no fetch, and no look at what others have fetched, begins earlier
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
	if alive && s.refusal == accepted && now.Before(s.refreshAt) {
		return s.token, nil, nil
	}
	if s.flight == nil && !now.Before(s.notBefore) {
		s.flight = &flight{done: make(chan struct{})}
		s.detach(ctx, func(ctx context.Context) { s.run(ctx) })
	}
	switch {
	case alive && s.refusal == accepted:
		return s.token, nil, nil // good for minutes yet; nobody waits for the refresh
	case s.flight != nil:
		return Token{}, nil, s.flight
	case s.failure != nil:
		return Token{}, s.failure, nil
	default:
		return s.token, nil, nil // fetched a moment ago: it is used again until the next fetch is due
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
func (s *cachedTokens) obtain(ctx context.Context) (held, *Error) {
	known := s.known(time.Now())
	fetch := func(ctx context.Context, before held) (held, *Error) {
		got, failure := s.fetch(ctx)
		return held{token: got.token, left: got.life, rows: before.rows.next(known.refusal, before.age)}, failure
	}
	if s.shared != nil {
		return s.shared.obtain(ctx, s.pace, known, fetch)
	}
	return fetch(ctx, known.held)
}

// held is a token that has been fetched, by this process or another one. Its times are spans, so that no clock of another
// machine has a say.
type held struct {
	token secret.Text
	left  time.Duration // of its life
	age   time.Duration // since the fetch
	rows  rows          // as of the fetch
}

// known is what this process has before it obtains a token.
type known struct {
	held
	refusal refusal // of that token, by WeChat
}

// good reports whether a process may use h instead of fetching. A refused token it uses again as long as the pace allows no
// other fetch: then the refusal may be WeChat's error, and a fetch would bring the same one.
func (h held) good(p pace, k known) bool {
	if h.token.Empty() || h.left <= min(refreshAhead, (h.left+h.age)/2) {
		return false
	}
	return k.refusal == accepted || !h.token.Equal(k.token) || !p.may(h.rows, k.refusal, h.age)
}

func (s *cachedTokens) known(now time.Time) known {
	s.mu.Lock()
	defer s.mu.Unlock()
	return known{refusal: s.refusal, held: held{
		token: s.token.Value, left: s.expires.Sub(now), age: now.Sub(s.fetched), rows: s.rows,
	}}
}

// keep takes over the result of a fetch. s.mu is held.
func (s *cachedTokens) keep(got held, failure *Error, now time.Time) {
	s.failure = failure
	if failure != nil {
		s.notBefore = now.Add(minFailInterval)
		return
	}
	life := min(max(got.left, minLife), maxLife)
	ahead := max(minLife, life-refreshAhead)
	s.token = Token{Param: s.param, Value: got.token}
	s.refusal = accepted
	s.fetched, s.rows = now.Add(-got.age), got.rows
	s.expires = now.Add(life)
	s.refreshAt = now.Add(ahead + jitter(ahead))
	s.notBefore = now.Add(lookEvery)
}

// jitter returns a random part of a tenth of d, of maxJitter at most. It is added: a refresh that comes before the last
// 5 minutes of a token would bring the same one again.
func jitter(d time.Duration) time.Duration {
	return rand.N(min(d/10, maxJitter))
}

// Reject implements [TokenSource].
func (s *cachedTokens) Reject(_ context.Context, t Token, code int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.Param != s.token.Param || !t.Value.Equal(s.token.Value) {
		return
	}
	s.refusal = max(s.refusal, refusalOf(code)) // one call may doubt what another knows
	if s.failure != nil {
		return // the pause after a failure goes on
	}
	due := s.fetched.Add(s.pace.wait(s.rows, s.refusal))
	if s.shared == nil || due.Before(s.notBefore) {
		s.notBefore = due
	}
}
