package batch

import (
	"testing"
	"time"

	"cloudidq/internal/wechat"
)

// The error of a pause is recognized by its type and never by its text, so no answer of WeChat
// is taken for one. The error of a pause starts no new pause.
func TestOfPause_NotByItsText(t *testing.T) {
	own := NewBlock(wechat.ClassQuota, 45009, time.Time{}).Err
	if !OfPause(own) || PausesApp(own) {
		t.Errorf("%v: OfPause = %t, PausesApp = %t", own, OfPause(own), PausesApp(own))
	}
	said := &wechat.Error{Class: wechat.ClassQuota, Code: 45009, Message: own.Message}
	if OfPause(said) || !PausesApp(said) {
		t.Errorf("%v of WeChat: OfPause = %t, PausesApp = %t", said, OfPause(said), PausesApp(said))
	}
}
