package wechat_test

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"cloudidq/internal/wechat"
)

// countingSlot counts its releases. Acquire takes some time and may return an error.
type countingSlot struct {
	acquired bool
	releases int
	delay    time.Duration // of Acquire
	paused   *wechat.Error // result of Acquire
}

func (s *countingSlot) Release() { s.acquired, s.releases = false, s.releases+1 }

func (s *countingSlot) Acquire() *wechat.Error {
	time.Sleep(s.delay)
	s.acquired = true
	return s.paused
}

// watched fails the test if a request is sent without the slot.
type watched struct {
	*network
	t    *testing.T
	slot *countingSlot
}

func (w watched) RoundTrip(r *http.Request) (*http.Response, error) {
	if !w.slot.acquired {
		w.t.Error("a request was sent without the slot")
	}
	return w.network.RoundTrip(r)
}

func TestGetOpenData_ReleasesTheSlotWhileWaiting(t *testing.T) {
	busy := `{"errcode":-1,"errmsg":"system error"}`
	for name, tc := range map[string]struct {
		answers  []string
		releases int
	}{
		"FinalError":     {[]string{`{"errcode":40003,"errmsg":"invalid openid"}`}, 0},
		"TwoRepetitions": {[]string{busy}, 2},
		"NewToken":       {[]string{`{"errcode":42001}`, `{"errcode":40003}`}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				slot := &countingSlot{acquired: true, delay: 10 * time.Millisecond}
				client := offline(t, nil)
				client.SetTransport(watched{&network{answers: tc.answers}, t, slot})
				client.GetOpenData(t.Context(), accessTokens("T"), wechat.Request{
					AppID: "wx1", OpenID: "o1", Items: []wechat.Item{{CloudID: "a"}}, Slot: slot,
				})
				if !slot.acquired || slot.releases != tc.releases {
					t.Errorf("acquired = %t after %d releases, want true after %d", slot.acquired, slot.releases,
						tc.releases)
				}
			})
		})
	}
}

func TestGetOpenData_InterruptedWhileWaiting_ReacquiresTheSlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slot := &countingSlot{acquired: true}
		client := offline(t, nil)
		client.SetTransport(watched{&network{answers: []string{`{"errcode":-1}`}}, t, slot})
		ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
		defer cancel()
		client.GetOpenData(ctx, accessTokens("T"), wechat.Request{AppID: "wx1", Items: []wechat.Item{{CloudID: "a"}}, Slot: slot})
		if !slot.acquired {
			t.Error("GetOpenData returned without the slot")
		}
	})
}

// If the app is paused while a call waits, the call sends nothing more and returns the reason.
func TestGetOpenData_PausedWhileWaiting_SendsNothingMore(t *testing.T) {
	for name, first := range map[string]string{"Busy": `{"errcode":-1}`, "RefusedToken": `{"errcode":42001}`} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				paused := &wechat.Error{Class: wechat.ClassQuota, Code: 45009, Message: "the app is paused"}
				slot := &countingSlot{acquired: true, paused: paused}
				n := &network{answers: []string{first}}
				client := offline(t, n)
				got := client.GetOpenData(t.Context(), accessTokens("T"), wechat.Request{
					AppID: "wx1", Items: []wechat.Item{{CloudID: "a"}}, Slot: slot,
				})
				if len(n.bodies) != 1 || got[0].Err != paused || got[0].Attempts != 1 || !slot.acquired {
					t.Errorf("%d requests and %+v, want one request and the error of the pause", len(n.bodies),
						got[0])
				}
			})
		})
	}
}
