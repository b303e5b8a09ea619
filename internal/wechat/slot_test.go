package wechat_test

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"cloudidq/internal/wechat"
)

// countingSlot says whether the slot is held, and takes its time to come back.
type countingSlot struct {
	held     bool
	releases int
	back     time.Duration
	halted   *wechat.Error // from the first time on that it is given back
}

func (s *countingSlot) Release() { s.held, s.releases = false, s.releases+1 }

func (s *countingSlot) Acquire() *wechat.Error {
	time.Sleep(s.back)
	s.held = true
	return s.halted
}

// watched fails the test when a request is sent without the slot.
type watched struct {
	*network
	t    *testing.T
	slot *countingSlot
}

func (w watched) RoundTrip(r *http.Request) (*http.Response, error) {
	if !w.slot.held {
		w.t.Error("a request is under way without the slot")
	}
	return w.network.RoundTrip(r)
}

func TestGetOpenData_GivesTheSlotBackWhileItWaits(t *testing.T) {
	busy := `{"errcode":-1,"errmsg":"system error"}`
	for name, tc := range map[string]struct {
		answers  []string
		releases int
	}{
		"no try after the first": {[]string{`{"errcode":40003,"errmsg":"invalid openid"}`}, 0},
		"two more tries":         {[]string{busy}, 2},
		"a fresh token":          {[]string{`{"errcode":42001}`, `{"errcode":40003}`}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				slot := &countingSlot{held: true, back: 10 * time.Millisecond}
				client := offline(t, nil)
				client.SetTransport(watched{&network{answers: tc.answers}, t, slot})
				client.GetOpenData(t.Context(), accessTokens("T"), wechat.Request{
					AppID: "wx1", OpenID: "o1", Items: []wechat.Item{{CloudID: "a"}}, Slot: slot,
				})
				if !slot.held || slot.releases != tc.releases {
					t.Errorf("held = %t after %d releases, want it held after %d", slot.held, slot.releases, tc.releases)
				}
			})
		})
	}
}

func TestGetOpenData_InterruptedWhileItWaits_HoldsTheSlotAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slot := &countingSlot{held: true}
		client := offline(t, nil)
		client.SetTransport(watched{&network{answers: []string{`{"errcode":-1}`}}, t, slot})
		ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
		defer cancel()
		client.GetOpenData(ctx, accessTokens("T"), wechat.Request{AppID: "wx1", Items: []wechat.Item{{CloudID: "a"}}, Slot: slot})
		if !slot.held {
			t.Error("the slot is not held on return")
		}
	})
}

// A call whose app has been paused while it waited sends nothing more, and says why.
func TestGetOpenData_PausedWhileItWaits_SendsNoMore(t *testing.T) {
	for name, first := range map[string]string{"Busy": `{"errcode":-1}`, "RefusedToken": `{"errcode":42001}`} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				halted := &wechat.Error{Class: wechat.ClassQuota, Code: 45009, Message: "the app is paused"}
				slot := &countingSlot{held: true, halted: halted}
				n := &network{answers: []string{first}}
				client := offline(t, n)
				got := client.GetOpenData(t.Context(), accessTokens("T"), wechat.Request{
					AppID: "wx1", Items: []wechat.Item{{CloudID: "a"}}, Slot: slot,
				})
				if len(n.bodies) != 1 || got[0].Err != halted || got[0].Attempts != 1 || !slot.held {
					t.Errorf("%d requests and %+v, want one and the pause", len(n.bodies), got[0])
				}
			})
		})
	}
}
