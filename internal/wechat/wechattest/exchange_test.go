package wechattest_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cloudidq/internal/wechat/wechattest"
)

// Answers have exactly the form of captured answers, including whitespace and escapes.
func TestAnswer_Golden(t *testing.T) {
	env := newEnv(t, wechattest.Config{Seed: 1})
	for n := range 5 {
		tap := env.CloudID(appA, 7, n, start)
		data := strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(string(env.Truth(appA, "",
			tap.CloudID).Data))
		want := answer{http.StatusOK, "text/plain", strings.ReplaceAll(`{"errcode":0,"errmsg":"ok","data_list":[{"cloud_id":"69_x",`+
			`"json":"{ \"cloudID\":\"69_x\", \"data\":`+data+` }"}]}`, "69_x", tap.CloudID), nil}
		diff := cmp.Diff(want, env.exchange(t, tap.OpenID, tap.CloudID), cmp.AllowUnexported(answer{}))
		if diff != "" {
			t.Errorf("data (-want +got):\n%s", diff)
		}
	}

	tap := env.CloudID(appA, 7, 0, start)
	want := strings.ReplaceAll(`{"errcode":0,"errmsg":"ok","data_list":[{"cloud_id":"73_y",`+
		`"json":"{ \"cloudID\":\"73_y\", \"errCode\":-601007, \"errMsg\":\"cloudID not belong to user.\" }"}]}`, "73_y", tap.CloudID)
	if got := env.exchange(t, env.CloudID(appA, 8, 0, start).OpenID, tap.CloudID); got.body != want {
		t.Errorf("cloudID of another user: %s, want %s", got.body, want)
	}

	rid := regexp.MustCompile(fmt.Sprintf(
		`^\{"errcode":40003,"errmsg":"invalid openid rid: %08x-[0-9a-f]{8}-[0-9a-f]{8}"\}$`, start.Unix()))
	if got := env.exchange(t, "o-unknown", tap.CloudID); !rid.MatchString(got.body) ||
		!strings.HasPrefix(got.form, "application/json") {
		t.Errorf("unknown openid: %+v, want %s", got, rid)
	}
}

// The answer repeats every cloudID unchanged, even an unusual one.
func TestAnswer_OddCloudIDs(t *testing.T) {
	env := newEnv(t, wechattest.Config{})
	odd := []string{`a"b`, `c\d`, "é\n\u2028", "<&>", "", strings.Repeat("x", 5000)}
	_, entries := read(t, env.exchange(t, "", odd...))
	for _, id := range odd {
		if e := entries[id]; e.ErrCode != -601005 || e.CloudID != id {
			t.Errorf("entry of %.20q: %+v, want -601005", id, e)
		}
	}
}

func TestRefusals(t *testing.T) {
	env := newEnv(t, wechattest.Config{MaxBatch: 2})
	tap := env.CloudID(appA, 1, 0, start)
	good := url.Values{"access_token": {env.StaticToken(appA)}, "openid": {tap.OpenID}}
	list := func(n int) string {
		return `{"cloudid_list": [` + strings.TrimSuffix(strings.Repeat(`"`+tap.CloudID+`" , `, n), " , ") + "]}\n"
	}
	tests := map[string]struct {
		method string
		query  url.Values
		body   string
		code   int
	}{
		"Good": {"POST", good, list(1), 0},
		"CloudbaseToken": {"POST", url.Values{"cloudbase_access_token": {env.CloudbaseToken(appA)}},
			list(1), 0},
		"CloudbaseAsOther": {"POST", url.Values{"access_token": {env.CloudbaseToken(appA)}}, list(1),
			40001},
		"OtherAsCloudbase": {"POST", url.Values{"cloudbase_access_token": good["access_token"]}, list(1), 40001},
		"UnknownField":     {"POST", good, `{"x":{"y":[1]},"cloudid_list":["\u0041"]}`, 0},
		"Get":              {"GET", good, "", 43002},
		"NoToken":          {"POST", url.Values{"openid": {tap.OpenID}}, list(1), 41001},
		"UnknownToken":     {"POST", url.Values{"access_token": {"80_x"}}, list(1), 40001},
		"MangledToken": {"POST", url.Values{"access_token": {env.StaticToken(appA) + "A"}}, list(1),
			40001},
		"EmptyBody":    {"POST", good, "", 44002},
		"NoJSON":       {"POST", good, "cloudid_list=x", 47001},
		"TokenInBody":  {"POST", good, `{"access_token":"x"}`, 47001},
		"EmptyList":    {"POST", good, `{"cloudid_list":[]}`, 47001},
		"NotStrings":   {"POST", good, `{"cloudid_list":[1]}`, 47001},
		"Unterminated": {"POST", good, `{"cloudid_list":["x"`, 47001},
		"TrailingData": {"POST", good, list(1) + "x", 47001},
		"UnknownOpenID": {"POST", url.Values{"access_token": good["access_token"], "openid": {"oX"}},
			list(1), 40003},
		"OpenIDOfOtherApp": {"POST", url.Values{"access_token": {env.StaticToken(appB)},
			"openid": {tap.OpenID}}, list(1), 40003},
		"EscapedOpenID": {"POST", url.Values{"access_token": good["access_token"], "openid": {"a b&c=d"}},
			list(1), 40003},
		"LongList":  {"POST", good, list(3), 40097},
		"ListOfMax": {"POST", good, list(2), 0},
	}
	refused := int64(0)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := env.call(t, tt.method, "/wxa/getopendata", tt.query, tt.body)
			r, _ := read(t, got)
			if r.ErrCode != tt.code || got.status != http.StatusOK {
				t.Errorf("answer %+v, want errcode %d", got, tt.code)
			}
			if tt.code != 0 {
				refused++
				if !strings.Contains(r.ErrMsg, fmt.Sprintf(" rid: %08x-", start.Unix())) || strings.HasPrefix(r.ErrMsg, " ") {
					t.Errorf("errmsg %q, want a text and a rid", r.ErrMsg)
				}
			}
		})
	}
	if got := env.Stats().Refused; got != refused {
		t.Errorf("Stats.Refused = %d, want %d", got, refused)
	}
	got := env.call(t, "POST", "/wxa/getopendata", good, strings.Repeat("x", 1<<20+1))
	if got.err == nil && got.status != 413 {
		t.Errorf("a body of more than 1 MiB: %+v, want HTTP 413", got)
	}
	if got := env.call(t, "POST", "/wxa/getphonenumber", good, ""); got.status != http.StatusNotFound {
		t.Errorf("another API: %+v, want 404", got)
	}
}

// Each item of a list has its own outcome.
func TestBatch_OutcomePerItem(t *testing.T) {
	env := newEnv(t, wechattest.Config{Seed: 5})
	mine, theirs := env.CloudID(appA, 1, 0, start), env.CloudID(appA, 2, 0, start)
	old := env.CloudID(appA, 1, 1, start.Add(-5*time.Minute-time.Millisecond))
	just := env.CloudID(appA, 1, 2, start.Add(-5*time.Minute))
	otherApp := env.CloudID(appB, 1, 0, start)

	ids := []string{mine.CloudID, theirs.CloudID, old.CloudID, just.CloudID, otherApp.CloudID, "forged"}
	r, entries := read(t, env.exchange(t, mine.OpenID, ids...))
	var got []int
	for _, id := range ids {
		got = append(got, entries[id].ErrCode)
	}
	if diff := cmp.Diff([]int{0, -601007, -601006, 0, -601007, -601005}, got); diff != "" || len(r.List) != len(ids) {
		t.Errorf("item codes (-want +got):\n%s", diff)
	}
	want := wechattest.Stats{
		Requests: 1, CloudIDs: 6, Answered: 2, Faults: map[string]int64{}, MaxInFlight: 1, MaxBatch: 6,
		Violations: wechattest.Violations{MixedOpenIDs: 1, AfterDeadline: 1},
	}
	if diff := cmp.Diff(want, env.Stats()); diff != "" {
		t.Errorf("stats (-want +got):\n%s", diff)
	}
}

func TestViolation_AfterResolved(t *testing.T) {
	tests := map[string]struct {
		faults wechattest.Faults
		times  int
		want   int64
	}{
		"Once":           {nil, 1, 0},
		"Twice":          {nil, 2, 1},
		"AfterLost":      {wechattest.Faults{"lost": 1}, 3, 0},
		"AfterTruncated": {wechattest.Faults{"truncated": 1}, 3, 0},
		"AfterItemBusy":  {wechattest.Faults{"itembusy": 1}, 3, 0},
		"WrongWatermark": {wechattest.Faults{"watermark": 1}, 3, 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			env := newEnv(t, wechattest.Config{Faults: tt.faults})
			tap := env.CloudID(appA, 1, 0, start)
			for range tt.times {
				env.exchange(t, tap.OpenID, tap.CloudID)
			}
			if got := env.Stats().Violations; got != (wechattest.Violations{AfterResolved: tt.want}) {
				t.Errorf("violations %+v, want %d after_resolved", got, tt.want)
			}
			if got := env.Sent(tap.CloudID); got != tt.times {
				t.Errorf("Sent = %d, want %d", got, tt.times)
			}
		})
	}
}

// An answer whose client disconnects during the latency does not count as answered.
func TestClientGone(t *testing.T) {
	env := newEnv(t, wechattest.Config{Latency: time.Hour})
	tap := env.CloudID(appA, 1, 0, start)
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodPost,
		env.url+"/wxa/getopendata?access_token="+env.StaticToken(appA),
		strings.NewReader(`{"cloudid_list":["`+tap.CloudID+`"]}`))
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		if resp, err := env.client.Do(req); err == nil {
			_ = resp.Body.Close()
			t.Error("the request succeeded, want the error of the context")
		}
	})
	eventually(t, "the request's arrival", func() bool { return env.Sent(tap.CloudID) == 1 })
	cancel()
	wg.Wait()
	eventually(t, "the request's end", func() bool {
		return env.Stats().Gone == 1 &&
			env.Entry(tap.CloudID).Lost == 1
	})
	if got := env.Stats(); got.Answered != 0 || got.MaxInFlight != 1 {
		t.Errorf("stats %+v, want nothing answered", got)
	}
}

// Concurrent requests are counted. They do not wait for each other.
func TestInFlight(t *testing.T) {
	env := newEnv(t, wechattest.Config{Latency: 2 * time.Second})
	var wg sync.WaitGroup
	for user := range 20 {
		tap := env.CloudID(appA, user, 0, start)
		wg.Go(func() { env.exchange(t, tap.OpenID, tap.CloudID) })
	}
	wg.Wait()
	got := env.Stats()
	if got.Requests != 20 || got.Answered != 20 || got.MaxInFlight < 2 || got.MaxInFlight > 20 {
		t.Errorf("stats %+v, want 20 requests, several of them concurrent", got)
	}
}

func TestNoLedger(t *testing.T) {
	env := newEnv(t, wechattest.Config{NoLedger: true})
	tap := env.CloudID(appA, 1, 0, start)
	for range 2 {
		env.exchange(t, tap.OpenID, tap.CloudID)
	}
	if got := env.Entry(tap.CloudID); got != (wechattest.Entry{}) {
		t.Errorf("Entry = %+v, want none", got)
	}
	if got := env.Stats(); got.Answered != 2 || got.Violations != (wechattest.Violations{}) {
		t.Errorf("stats %+v, want 2 answered", got)
	}
}

// eventually polls until done, for at most ten seconds.
func eventually(tb testing.TB, what string, done func() bool) {
	tb.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(10 * time.Second); !done(); <-tick.C {
		if time.Now().After(deadline) {
			tb.Fatalf("timeout while waiting for %s", what)
		}
	}
}
