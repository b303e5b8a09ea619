package worker

import (
	"testing"

	"cloudidq/internal/wechat"
)

// A pause is known by its type: what WeChat, or whoever answers in its name, writes into a message makes none of an answer, and
// a pause's own error begins none anew.
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
