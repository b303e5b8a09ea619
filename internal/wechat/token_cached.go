package wechat

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"cloudidq/internal/secret"
)

const (
	refreshAhead = 5 * time.Minute  // stable_token returns a new token only in the last 5 minutes of the old one
	minLife      = time.Minute      // shortest lifetime that is assumed, whatever the endpoint states
	maxLife      = 2 * time.Hour    // no token of WeChat's lives longer
	maxJitter    = 30 * time.Second // prevents many processes from refreshing at the same time

	minFailInterval = time.Second // pause after a failed fetch

	// lookEvery is the interval at which a process that must not replace a refused token checks
	// whether another process has.
	lookEvery = 250 * time.Millisecond
)

// cachedTokens caches the one token of an app. Only fetch differs between the modes. The rest is
// common to all of them: one fetch at a time, refresh before expiry, compare and swap after a
// refusal, and the pace of fetches. It never sets force_refresh, because that voids the token of
// other processes.
type cachedTokens struct {
	param  string
	pace   pace
	fetch  func(ctx context.Context) (grant, *Error)
	detach func(ctx context.Context, f func(context.Context)) // runs f in the background
	shared *sharedTokens                                      // nil means that the process does not share tokens

	mu        sync.Mutex // guards the fields below
	token     Token
	refusal   refusal   // WeChat's refusal of the token
	fetched   time.Time // time of the last fetch by any process
	rows      rows      // fetches in a row, as of that fetch
	refreshAt time.Time // a new token is fetched from this time on
	expires   time.Time // the token is not used from this time on
	notBefore time.Time // no fetch and no check of the shared cache starts before this time
	failure   *Error    // error of the last fetch; nil if it succeeded
	flight    *flight   // the fetch in flight, if any
}

// flight is one fetch that callers wait for. Read its result only after done is closed.
type flight struct {
	done    chan struct{}
	token   Token
	failure *Error
}

// Token implements [TokenSource].
func (s *cachedTokens) Token(ctx context.Context) (Token, error) {
	token, failure, flight := s.current(ctx, time.Now())
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

// current returns a token, an error, or a fetch to wait for.
func (s *cachedTokens) current(ctx context.Context, now time.Time) (Token, *Error, *flight) {
	s.mu.Lock()
	defer s.mu.Unlock()
	alive := now.Before(s.expires)
	if alive && s.refusal == accepted && now.Before(s.refreshAt) {
		return s.token, nil, nil
	}
	if s.flight == nil && !now.Before(s.notBefore) {
		s.flight = &flight{done: make(chan struct{})}
		s.detach(ctx, func(ctx context.Context) { s.completeFlight(ctx) })
	}
	switch {
	case alive && s.refusal == accepted:
		return s.token, nil, nil // valid for some minutes yet; the refresh runs in the background
	case s.flight != nil:
		return Token{}, nil, s.flight
	case s.failure != nil:
		return Token{}, s.failure, nil
	default:
		// Refused, but fetched a short time ago: use it again until the next fetch is due.
		return s.token, nil, nil
	}
}

// completeFlight fetches once and releases all waiting callers.
func (s *cachedTokens) completeFlight(ctx context.Context) {
	got, failure := s.obtain(ctx)
	if failure == nil && got.token.Empty() {
		failure = &Error{Class: ClassRetry, Message: textTokens + "no token in the answer"}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.storeLocked(got, failure, time.Now())
	s.flight.token, s.flight.failure = s.token, failure
	close(s.flight.done)
	s.flight = nil
}

// obtain fetches a token, or returns one that another process has fetched.
func (s *cachedTokens) obtain(ctx context.Context) (fetchedToken, *Error) {
	local := s.localState(time.Now())
	fetch := func(ctx context.Context, before fetchedToken) (fetchedToken, *Error) {
		got, failure := s.fetch(ctx)
		rows := before.rows.next(local.refusal, before.age)
		return fetchedToken{token: got.token, left: got.life, rows: rows}, failure
	}
	if s.shared != nil {
		return s.shared.obtain(ctx, s.pace, local, fetch)
	}
	return fetch(ctx, local.fetchedToken)
}

// fetchedToken is a token that this process or another one has fetched. Its times are durations, so
// that differing clocks of machines do not matter.
type fetchedToken struct {
	token secret.Text
	left  time.Duration // remaining lifetime
	age   time.Duration // time since the fetch
	rows  rows          // fetches in a row, as of the fetch
}

// localState is the state of this process before it obtains a token.
type localState struct {
	fetchedToken
	refusal refusal // WeChat's refusal of that token
}

// good reports whether a process may use f instead of fetching. A refused token is used again
// while the pace forbids another fetch. In this case the refusal may be WeChat's error, and a
// fetch would return the same token.
func (f fetchedToken) good(p pace, local localState) bool {
	if f.token.Empty() || f.left <= min(refreshAhead, (f.left+f.age)/2) {
		return false
	}
	return local.refusal == accepted || !f.token.Equal(local.token) ||
		!p.may(f.rows, local.refusal, f.age)
}

// localState returns the state of this process.
func (s *cachedTokens) localState(now time.Time) localState {
	s.mu.Lock()
	defer s.mu.Unlock()
	return localState{refusal: s.refusal, fetchedToken: fetchedToken{
		token: s.token.Value, left: s.expires.Sub(now), age: now.Sub(s.fetched), rows: s.rows,
	}}
}

// storeLocked stores the result of a fetch.
func (s *cachedTokens) storeLocked(got fetchedToken, failure *Error, now time.Time) {
	s.failure = failure
	if failure != nil {
		s.notBefore = now.Add(minFailInterval)
		return
	}
	life := min(max(got.left, minLife), maxLife)
	// Refresh in the last 5 minutes, when stable_token returns a new token.
	ahead := max(minLife, life-refreshAhead)
	s.token = Token{Param: s.param, Value: got.token}
	s.refusal = accepted
	s.fetched, s.rows = now.Add(-got.age), got.rows
	s.expires = now.Add(life)
	s.refreshAt = now.Add(ahead + jitter(ahead))
	s.notBefore = now.Add(lookEvery)
}

// jitter returns a random duration below a tenth of d and below maxJitter. The caller adds it to
// the refresh time and does not subtract it: a refresh before the last 5 minutes of a token
// would return the same token.
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
	s.refusal = max(s.refusal, refusalOf(code)) // a concurrent call may have reported a stronger refusal
	if s.failure != nil {
		return // the pause after a failed fetch continues
	}
	// Fetch again when the pace allows it. A process that shares tokens also checks the cache
	// after lookEvery, because another process may have fetched a new token.
	due := s.fetched.Add(s.pace.wait(s.rows, s.refusal))
	if s.shared == nil || due.Before(s.notBefore) {
		s.notBefore = due
	}
}
