package wechat

import (
	"fmt"
	"time"
)

// Class says what an error means for the caller. The code table (codes.go) maps every known
// errcode to a class.
type Class uint8

// The classes. Only worker/retry.go decides what the queue does for each class.
const (
	// ClassRetry is a temporary failure: WeChat is busy, does not answer, or omits an entry.
	// Repeat the request.
	ClassRetry Class = iota + 1
	// ClassToken means that WeChat refused the access token. GetOpenData has already used a
	// fresh one. Repeat the request.
	ClassToken
	// ClassRate means that the app's quota per minute is used up (45011).
	ClassRate
	// ClassQuota means that the app's quota per day is used up (45009).
	ClassQuota
	// ClassApp is an error in configuration or permissions that an operator must fix. It
	// concerns the whole app.
	ClassApp
	// ClassBatch means that WeChat refused the whole request as malformed or too large. One bad
	// item may be the cause, so a smaller request may succeed. For a request with one item it is
	// final.
	ClassBatch
	// ClassCall is final for every item of the request. An example is an openid of another app.
	ClassCall
	// ClassItem is final for this one cloudID.
	ClassItem
	// ClassExpired is final for this one cloudID: WeChat says its lifetime is over.
	ClassExpired
	// ClassBug is a defect of cloudidq. It is final and should be reported.
	ClassBug
)

var classNames = [...]string{
	ClassRetry:   "retry",
	ClassToken:   "token",
	ClassRate:    "rate",
	ClassQuota:   "quota",
	ClassApp:     "app",
	ClassBatch:   "batch",
	ClassCall:    "call",
	ClassItem:    "item",
	ClassExpired: "expired",
	ClassBug:     "bug",
}

// String returns the class as one lower-case word that is suitable as a metric label, such as
// "retry" or "token". It returns "none" for the zero value and "unknown" for an undefined class.
func (c Class) String() string {
	switch {
	case c == 0:
		return "none"
	case int(c) < len(classNames):
		return classNames[c]
	default:
		return "unknown"
	}
}

// Error says why a cloudID, or a whole request, brought no data. Several outcomes may share one
// Error, so do not modify it.
type Error struct {
	Class   Class
	Code    int    // the item's errCode, or the response's errcode, or 0 if there is neither
	Message string // WeChat's text without rid and submitted values; cloudidq's own text if Code is 0
	RID     string // WeChat's request id; empty in most item errors
	// Cause is set if cloudidq itself could not make the call, and nil otherwise. Use errors.Is
	// to test for it instead of comparing Message.
	Cause error
}

// Unwrap returns Cause.
func (e *Error) Unwrap() error { return e.Cause }

// Error implements error. The text contains no submitted value, so you may log it. If WeChat has
// sent a request id, the text ends with the id and its time. WeChat explains the request by this
// id for seven days.
func (e *Error) Error() string {
	if e.Code == 0 {
		return "wechat: " + e.Message
	}
	text := fmt.Sprintf("wechat: errcode %d (%s)", e.Code, e.Class)
	if e.RID == "" {
		return text
	}
	text += ", rid " + e.RID
	if at, ok := RIDTime(e.RID); ok {
		text += " of " + at.UTC().Format(time.RFC3339)
	}
	return text
}

// transient returns an error of ClassRetry with the given text.
func transient(message string) *Error { return &Error{Class: ClassRetry, Message: message} }
