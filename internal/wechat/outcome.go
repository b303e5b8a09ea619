// Package wechat calls POST /wxa/getopendata, which exchanges cloudIDs for their open data, and turns every way it can
// answer or fail into one [Outcome] per cloudID.
//
// The package knows HTTP, error codes and access tokens; it knows nothing of queues or stores. The worker's batcher is
// its caller. It never logs, and no error of it carries a token, a cloudID, an openid or data.
//
//	client, err := wechat.New(wechat.Config{BaseURL: "https://api.weixin.qq.com"})
//	…
//	defer client.Close()
//	tokens := client.StableToken(appID, appSecret) // once per app
//	for _, outcome := range client.GetOpenData(ctx, tokens, request) {
//		if outcome.Err != nil {
//			… // outcome.Err.Class tells whether asking again can help
//		}
//	}
//
// Read on in the order of a call: exchange.go (tries and open items), request.go and attempt.go (one HTTP request),
// response.go and entry.go (what came back), codes.go (what a code means), token_cached.go (where tokens come from).
package wechat

import (
	"encoding/json"
	"time"

	"go.opentelemetry.io/otel/trace"
)

// Request is one exchange: cloudIDs of one user of one app. WeChat takes one openid per call, so cloudIDs of two users
// never share a request.
type Request struct {
	AppID  string
	OpenID string // empty where the app groups by app: the call then carries no openid
	Items  []Item // no cloudID twice
	Slot   Slot   // held when GetOpenData is called; nil = nobody counts requests

	// Origins are the spans on whose behalf the request is made, each once.
	Origins []trace.SpanContext
}

// Slot is the caller's leave to have one request under way. GetOpenData gives it back before every repetition, so that a
// call that waits keeps no other from being sent, and holds it again when it returns.
type Slot interface {
	Release()
	// Acquire may block. An error means that the slot is held again but nothing more is to be sent, as when the app has
	// been paused meanwhile; it becomes the Err of what is still open.
	Acquire() *Error
}

// Item is one cloudID of a request.
type Item struct {
	CloudID string
	SendBy  time.Time // nothing is sent for it after this moment; the zero time sets no limit
	// HeldUntil is how long the caller is sure that nobody else asks for it: nothing is sent after this moment either. The
	// zero time sets no limit. Take it from [time.Now], whose monotonic part goes on while the process is stopped.
	HeldUntil time.Time
}

// tooLate says why nothing may be sent for it any more; it is empty while something may.
func (it *Item) tooLate(now time.Time) (reason string) {
	switch {
	case late(it.SendBy, now):
		return textNotSent
	case late(it.HeldUntil, now):
		return textNotHeld
	default:
		return ""
	}
}

// by is the moment after which nothing is sent; zero if there is none.
func (it *Item) by() time.Time {
	if it.SendBy.IsZero() || !it.HeldUntil.IsZero() && it.HeldUntil.Before(it.SendBy) {
		return it.HeldUntil
	}
	return it.SendBy
}

// Outcome is what one exchange brought for one cloudID: data, or an error whose class tells what to do.
type Outcome struct {
	CloudID  string
	Kind     string          // see Kind; set with Data
	Data     json.RawMessage // WeChat's JSON, compacted, otherwise unchanged; nil if Err is set
	Err      *Error
	Attempts int // requests that carried this cloudID; 0 if SendBy or HeldUntil came first
}
