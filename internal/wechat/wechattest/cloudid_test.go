package wechattest_test

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"cloudidq/internal/wechat/wechattest"
)

var (
	cloudIDShape = regexp.MustCompile(`^[0-9]{2}_[A-Za-z0-9_-]{59}$`)
	openIDShape  = regexp.MustCompile(`^o[A-Za-z0-9_-]{27}$`)
)

// A second simulator with the same seed can decode every cloudID. A simulator with another seed,
// app or user cannot.
func TestCloudID_DescribesItself(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		seed := rapid.Uint64().Draw(rt, "seed")
		appID := rapid.StringMatching(`wx[0-9a-f]{16}`).Draw(rt, "appid")
		user := rapid.IntRange(0, 1<<32-1).Draw(rt, "user")
		n := rapid.IntRange(0, 1<<32-1).Draw(rt, "n")
		ms := rapid.Int64Range(0, 1<<48-1).Draw(rt, "ms")

		one, two := newSim(t, wechattest.Config{Seed: seed}), newSim(t, wechattest.Config{Seed: seed})
		tap := one.CloudID(appID, user, n, time.UnixMilli(ms))
		if diff := cmp.Diff(tap, two.CloudID(appID, user, n, time.UnixMilli(ms))); diff != "" {
			rt.Fatalf("two simulators with the same seed differ:\n%s", diff)
		}
		if !cloudIDShape.MatchString(tap.CloudID) || !openIDShape.MatchString(tap.OpenID) {
			rt.Fatalf("tap %+v does not have the form of real ids", tap)
		}
		truth := two.Truth(appID, tap.OpenID, tap.CloudID)
		if truth.Status != wechattest.StatusResolved || !truth.Deadline.Equal(time.UnixMilli(ms).Add(5*time.Minute)) {
			rt.Fatalf("truth %+v, want resolved", truth)
		}
		var data struct {
			Watermark struct {
				Timestamp int64
				AppID     string
			}
		}
		if err := json.Unmarshal(truth.Data, &data); err != nil || data.Watermark.AppID != appID || data.Watermark.Timestamp != ms/1000 {
			rt.Fatalf("data %s: %v, want the watermark of %s at %d", truth.Data, err, appID, ms/1000)
		}

		otherSeed := newSim(t, wechattest.Config{Seed: seed + 1})
		otherUser := one.CloudID(appID, (user+1)%(1<<32), n, time.UnixMilli(ms))
		for _, tt := range []struct {
			about string
			truth wechattest.Truth
			code  int
		}{
			{"another seed", otherSeed.Truth(appID, "", tap.CloudID), -601005},
			{"an openid of another seed", otherSeed.Truth(appID, tap.OpenID, tap.CloudID), 40003},
			{"another app", one.Truth(appB, "", tap.CloudID), -601007},
			{"an openid of another app", one.Truth(appB, tap.OpenID, tap.CloudID), 40003},
			{"another user", one.Truth(appID, otherUser.OpenID, tap.CloudID), -601007},
		} {
			if tt.truth.Status != wechattest.StatusFailed || tt.truth.Code != tt.code {
				rt.Fatalf("truth for %s: %+v, want code %d", tt.about, tt.truth, tt.code)
			}
		}
	})
}

// Any change of a cloudID makes it invalid. It never becomes another valid cloudID.
func TestCloudID_Mangled(t *testing.T) {
	sim := newSim(t, wechattest.Config{})
	tap := sim.CloudID(appA, 1, 2, start)
	for i := range tap.CloudID {
		for _, c := range "A_z\n\x00é" {
			mangled := tap.CloudID[:i] + string(c) + tap.CloudID[i+1:]
			if mangled == tap.CloudID {
				continue
			}
			if got := sim.Truth(appA, tap.OpenID, mangled); got.Code != -601005 {
				t.Errorf("Truth(%q) = %+v, want -601005", mangled, got)
			}
		}
	}
}

func FuzzCloudID(f *testing.F) {
	sim := newSim(f, wechattest.Config{})
	tap := sim.CloudID(appA, 1, 2, start)
	f.Add(tap.CloudID, tap.OpenID)
	f.Add("73_", "o")
	f.Add("73_"+strings.Repeat("A", 59), "o"+strings.Repeat("A", 27))
	f.Add("", "")
	f.Fuzz(func(t *testing.T, cloudID, openID string) {
		truth := sim.Truth(appA, openID, cloudID)
		if forged := cloudID != tap.CloudID; forged && truth.Status == wechattest.StatusResolved {
			t.Errorf("Truth(%q, %q) = %+v, want a failure", openID, cloudID, truth)
		}
	})
}

// A user's cloudIDs cycle through the kinds. Each kind has the data of its front-end call.
func TestKinds(t *testing.T) {
	sim := newSim(t, wechattest.Config{Seed: 1})
	got := make(map[string]string)
	for n := range 5 {
		tap := sim.CloudID(appA, 7, n, start)
		truth := sim.Truth(appA, tap.OpenID, tap.CloudID)
		got[truth.Kind] = string(truth.Data)
	}
	digits := regexp.MustCompile(`[0-9a-f]{16}\d?|"step":\d+|13\d{9}`)
	for kind, data := range got {
		got[kind] = digits.ReplaceAllString(data, "#")
	}
	const watermark = `,"watermark":{"timestamp":1795334400,"appid":"wx#"}}`
	want := map[string]string{
		"werun": `{"stepInfoList":[{"timestamp":1794931200,#},{"timestamp":1795017600,#},{"timestamp":1795104000,#},` +
			`{"timestamp":1795190400,#},{"timestamp":1795276800,#}]` + watermark,
		"phone": `{"phoneNumber":"#","purePhoneNumber":"#","countryCode":"86"` + watermark,
		"group": `{"opengid":"tG#"` + watermark,
		"user": `{"nickName":"微信用户","gender":0,"language":"zh_CN","city":"","province":"","country":"",` +
			`"avatarUrl":"https:\/\/thirdwx.qlogo.cn\/mmopen\/vi_32\/#\/132"` + watermark,
		"chat_tool": `{"opengid":"tG#","group_openid":"oG#","chat_type":3,"roomSeq":#` + watermark,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("data by kind (-want +got):\n%s", diff)
	}
}

// The data of kind chat_tool contains a number that a float64 cannot represent.
func TestKinds_IntegerBeyondFloat(t *testing.T) {
	sim := newSim(t, wechattest.Config{})
	for n := range 5 {
		truth := sim.Truth(appA, "", sim.CloudID(appA, 1, n, start).CloudID)
		if truth.Kind != "chat_tool" {
			continue
		}
		var data struct{ RoomSeq json.Number }
		if err := json.Unmarshal(truth.Data, &data); err != nil {
			t.Fatal(err)
		}
		exact, err := data.RoomSeq.Int64()
		if err != nil || exact <= 1<<53 || int64(float64(exact)) == exact {
			t.Errorf("roomSeq %s, want an integer that a float64 cannot represent (%v)", data.RoomSeq, err)
		}
		return
	}
	t.Error("no chat_tool among five cloudIDs")
}
