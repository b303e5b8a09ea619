// Package wechat calls POST /wxa/getopendata, which exchanges cloudIDs for their open data. It
// converts every possible answer and failure to one [Outcome] per cloudID.
//
// The package knows HTTP, error codes and access tokens. It knows nothing about queues or
// stores. Its caller is the worker's batcher. The package never logs, and its errors never
// contain a token, a cloudID, an openid or data.
//
//	client, err := wechat.New(wechat.Config{BaseURL: "https://api.weixin.qq.com"})
//	…
//	defer client.Close()
//	tokens := client.StableToken(appID, appSecret) // once per app
//	for _, outcome := range client.GetOpenData(ctx, tokens, request) {
//		if outcome.Err != nil {
//			… // outcome.Err.Class says whether a repetition can help
//		}
//	}
//
// To follow a call through the code, read exchange.go (attempts and open items), request.go and
// attempt.go (one HTTP request), response.go and entry.go (the answer), codes.go (the meaning of
// a code) and token_cached.go (the source of tokens), in this order.
package wechat

import (
	"encoding/json"
	"time"

	"go.opentelemetry.io/otel/trace"
)

// Request is one exchange: cloudIDs of one user of one app. A call to WeChat has one openid, so
// cloudIDs of two users never share a request.
type Request struct {
	AppID  string
	OpenID string // empty if the app batches by app; the call then carries no openid
	Items  []Item // no cloudID twice
	Slot   Slot   // held when GetOpenData is called; nil means that requests are not limited

	// Origins are the spans of the tasks that the request is made for, without duplicates.
	Origins []trace.SpanContext
}

// Slot is the caller's permission to have one request in flight. GetOpenData releases it before
// every repetition, so that a waiting call does not block others. When GetOpenData returns, it
// holds the slot again.
type Slot interface {
	Release()
	// Acquire may block. If it returns an error, the slot is held again but nothing more may be
	// sent, for example because the app has been paused meanwhile. The error becomes the Err of
	// the items that are still open.
	Acquire() *Error
}

// Item is one cloudID of a request.
type Item struct {
	CloudID string
	SendBy  time.Time // nothing is sent for it after this time; the zero time sets no limit
	// LeaseUntil is when the caller's exclusive right to send the item ends. After this time another
	// worker may send it, so nothing is sent. The zero time sets no limit. Derive it from [time.Now],
	// because its monotonic part advances while the process is stopped.
	LeaseUntil time.Time
}

// tooLate returns why the item may no longer be sent, or "" if it still may.
func (it *Item) tooLate(now time.Time) (reason string) {
	switch {
	case late(it.SendBy, now):
		return textNotSent
	case late(it.LeaseUntil, now):
		return textLeaseOver
	default:
		return ""
	}
}

// by returns the time after which nothing may be sent for the item, or the zero time if there is
// none.
func (it *Item) by() time.Time {
	if it.SendBy.IsZero() || !it.LeaseUntil.IsZero() && it.LeaseUntil.Before(it.SendBy) {
		return it.LeaseUntil
	}
	return it.SendBy
}

// Outcome is the result of an exchange for one cloudID: data, or an error whose class says what
// to do.
type Outcome struct {
	CloudID  string
	Kind     string          // see Kind; set if Data is set
	Data     json.RawMessage // WeChat's JSON, compacted, otherwise unchanged; nil if Err is set
	Err      *Error
	Attempts int // requests that carried this cloudID; 0 if SendBy or LeaseUntil passed first
}
