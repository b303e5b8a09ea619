package worker

import (
	"testing"

	"cloudidq/internal/wechat"
)

// The error of a pause is recognized by its type and never by its text, so no answer of WeChat
// is taken for one. The error of a pause starts no new pause.
func TestOfPause_NotByItsText(t *testing.T) {
	own := haltError(wechat.ClassQuota, 45009)
	if !ofPause(own) || pausesApp(own) {
		t.Errorf("%v: ofPause = %t, pausesApp = %t", own, ofPause(own), pausesApp(own))
	}
	said := &wechat.Error{Class: wechat.ClassQuota, Code: 45009, Message: own.Message}
	if ofPause(said) || !pausesApp(said) {
		t.Errorf("%v of WeChat: ofPause = %t, pausesApp = %t", said, ofPause(said), pausesApp(said))
	}
}
