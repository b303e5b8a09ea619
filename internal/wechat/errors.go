package wechat

import (
	"fmt"
	"time"
)

// Class says what an answer means for whoever asked. The code table (codes.go) maps every known errcode to one.
type Class uint8

// The classes. Which of them comes back as what on the queue is decided in worker/retry.go alone.
const (
	// ClassRetry is trouble of the moment: busy, no answer, an entry missing from the answer. Ask again.
	ClassRetry Class = iota + 1
	// ClassToken means that the access token was refused; GetOpenData has already tried a fresh one. Ask again.
	ClassToken
	// ClassRate is the app's quota of the minute (45011).
	ClassRate
	// ClassQuota is the app's quota of the day (45009).
	ClassQuota
	// ClassApp is a fault of configuration or permission that an operator must mend. It concerns the whole app.
	ClassApp
	// ClassBatch means the request as a whole was refused as malformed or too large; one bad item may spoil it, so a
	// smaller request may pass. For a request of one item it is final.
	ClassBatch
	// ClassCall is final for every item of the request, such as an openid of another app.
	ClassCall
	// ClassItem is final for this one cloudID.
	ClassItem
	// ClassExpired is final for this one cloudID: WeChat says its lifetime is over.
	ClassExpired
	// ClassBug is a defect of ours, final, to be reported.
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

// String returns the class as one lower-case word, fit for a metric label: "retry", "token" and so on; "none" for the
// zero value, "unknown" for what is no class.
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

// Error is why a cloudID, or a whole request, brought no data. It is shared between the outcomes it concerns, so nobody
// changes one.
type Error struct {
	Class   Class
	Code    int    // the item's errCode, else the response's errcode, else 0
	Message string // WeChat's text without rid and without anything that was submitted; ours where Code is 0
	RID     string // WeChat's request id, empty in most item errors
	// Cause tells what of ours has kept a call from being made; nil where WeChat has answered, or has not. errors.Is finds
	// it, so that nobody has to know it by Message.
	Cause error
}

// Unwrap returns Cause.
func (e *Error) Unwrap() error { return e.Cause }

// Error implements error. The text holds no submitted value, so it may be logged. It ends with WeChat's request id and its
// moment, where there is one: for seven days WeChat tells by it what it has seen.
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

// transient returns an error of ClassRetry with a text of ours.
func transient(message string) *Error { return &Error{Class: ClassRetry, Message: message} }
