package wechattest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cloudidq/internal/wechat/wechattest"
)

// lines parses NDJSON.
func lines[T any](tb testing.TB, a answer) []T {
	tb.Helper()
	if a.err != nil || a.status != http.StatusOK || a.form != "application/x-ndjson" {
		tb.Fatalf("answer %+v, want NDJSON", a)
	}
	var all []T
	for line := range strings.Lines(a.body) {
		var v T
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			tb.Fatalf("line %q: %v", line, err)
		}
		all = append(all, v)
	}
	return all
}

func TestRouteCloudIDs(t *testing.T) {
	env := newEnv(t, wechattest.Config{Users: 3})
	get := func(query string) []wechattest.Tap {
		values, err := url.ParseQuery("appid=" + appA + query)
		if err != nil {
			t.Fatal(err)
		}
		return lines[wechattest.Tap](t, env.call(t, http.MethodGet, "/sim/cloudids", values, ""))
	}
	tap := func(user, n int, age time.Duration) wechattest.Tap {
		tap := env.CloudID(appA, user, n, start.Add(-age))
		tap.AppID = "" // not part of the JSON
		return tap
	}
	tests := []struct {
		query string
		want  []wechattest.Tap
	}{
		{"", []wechattest.Tap{tap(0, 0, 0)}},
		{"&n=4", []wechattest.Tap{tap(1, 0, 0), tap(2, 0, 0), tap(0, 1, 0), tap(1, 1, 0)}},
		{"&n=2&start=1&users=2&age=4m", []wechattest.Tap{tap(1, 0, 4*time.Minute), tap(0, 1, 4*time.Minute)}},
		{"", []wechattest.Tap{tap(2, 1, 0)}},
	}
	for _, tt := range tests {
		if diff := cmp.Diff(tt.want, get(tt.query)); diff != "" {
			t.Errorf("cloudids%s (-want +got):\n%s", tt.query, diff)
		}
	}
	if diff := cmp.Diff(`{"cloud_id":"`+tap(0, 0, 0).CloudID+`","openid":"`+tap(0, 0, 0).OpenID+`","obtained_at":"2026-11-22T08:00:00.000Z"}`+"\n",
		env.call(t, http.MethodGet, "/sim/cloudids", url.Values{"appid": {appA}, "start": {"0"}},
			"").body); diff != "" {
		t.Errorf("line (-want +got):\n%s", diff)
	}
	bad := env.call(t, http.MethodGet, "/sim/cloudids", url.Values{"n": {"0"}, "users": {"-1"},
		"start": {"x"}, "age": {"4"}}, "")
	for _, want := range []string{"appid is missing", `n is "0"`, `users is "-1"`, `start is "x"`, `age is "4"`} {
		if bad.status != http.StatusBadRequest || !strings.Contains(bad.body, want) {
			t.Errorf("answer %+v does not contain %q", bad, want)
		}
	}
}

func TestRouteTruth(t *testing.T) {
	env := newEnv(t, wechattest.Config{Faults: wechattest.Faults{"expired": 0.5}})
	type truthLine struct {
		AppID   string `json:"appid"`
		OpenID  string `json:"openid"`
		CloudID string `json:"cloud_id"`
		wechattest.Truth
	}
	var want []truthLine
	var body strings.Builder
	for n := range 2000 {
		tap := env.CloudID(appA, n, n, start)
		want = append(want, truthLine{appA, tap.OpenID, tap.CloudID, env.Truth(appA, tap.OpenID,
			tap.CloudID)})
		fmt.Fprintf(&body, `{"appid":%q,"openid":%q,"cloud_id":%q}`+"\n", appA, tap.OpenID, tap.CloudID)
	}
	diff := cmp.Diff(want, lines[truthLine](t, env.call(t, http.MethodPost, "/sim/truth", nil,
		body.String())))
	if diff != "" {
		t.Errorf("truths (-want +got):\n%s", diff)
	}

	one := env.call(t, http.MethodGet, "/sim/truth", url.Values{"appid": {appA},
		"openid": {want[0].OpenID}, "cloud_id": {want[0].CloudID}}, "")
	var got truthLine
	if err := json.Unmarshal([]byte(one.body), &got); err != nil || !cmp.Equal(want[0], got) {
		t.Errorf("truth %+v, want %+v (%v)", one, want[0], err)
	}

	if bad := env.call(t, http.MethodGet, "/sim/truth", nil, ""); bad.status != http.StatusBadRequest {
		t.Errorf("without arguments: %+v, want 400", bad)
	}
	bad := env.call(t, http.MethodPost, "/sim/truth", nil,
		`{"appid":"a","cloud_id":"c"}`+"\n"+`{"appid":"a"}`+"\n")
	if !strings.HasSuffix(bad.body, `{"error":"cloud_id is missing","line":2}`+"\n") {
		t.Errorf("invalid second line: answer %+v", bad)
	}
}

func TestRouteStatsAndToken(t *testing.T) {
	env := newEnv(t, wechattest.Config{})
	tap := env.CloudID(appA, 1, 0, start)
	env.exchange(t, tap.OpenID, tap.CloudID)
	want := `{"requests":1,"cloudids":1,"answered":1,"refused":0,"gone":0,"faults":{},"token_calls":0,"token_forced":0,` +
		`"max_in_flight":1,"max_batch":1,"violations":{"mixed_openids":0,"after_deadline":0,"after_resolved":0}}` + "\n"
	if got := env.call(t, http.MethodGet, "/sim/stats", nil, ""); got.body != want {
		t.Errorf("stats %s, want %s", got.body, want)
	}
	got := env.call(t, http.MethodGet, "/sim/token", url.Values{"appid": {appA}}, "")
	if got.body != `{"access_token":"`+env.StaticToken(appA)+"\"}\n" {
		t.Errorf("token %+v, want the static token", got)
	}
	for _, path := range []string{"/sim/stats", "/sim/token", "/sim/cloudids"} {
		if got := env.call(t, http.MethodPost, path, nil, ""); got.status != http.StatusMethodNotAllowed {
			t.Errorf("POST %s: %+v, want 405", path, got)
		}
	}
}

// When its context ends, Serve lets requests in flight finish and leaves no goroutine.
func TestServe_FinishesRequestsInFlight(t *testing.T) {
	sim := newSim(t, wechattest.Config{Latency: 100 * time.Millisecond})
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- sim.Serve(ctx, ln) }()

	transport := new(http.Transport)
	defer transport.CloseIdleConnections()
	env := &testEnv{Simulator: sim, url: "http://" + ln.Addr().String(),
		client: &http.Client{Transport: transport}}
	tap := sim.CloudID(appA, 1, 0, start)
	came := make(chan answer, 1)
	go func() { came <- env.exchange(t, tap.OpenID, tap.CloudID) }()
	eventually(t, "the request's arrival", func() bool { return sim.Sent(tap.CloudID) == 1 })
	cancel()
	if r, _ := read(t, <-came); len(r.List) != 1 {
		t.Errorf("answer %+v, want one item", r)
	}
	if err := <-served; err != nil {
		t.Errorf("Serve: %v", err)
	}
}

func TestServe_BrokenListener(t *testing.T) {
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = ln.Close()
	if err := newSim(t, wechattest.Config{}).Serve(t.Context(), ln); err == nil {
		t.Error("Serve on a closed listener returned nil")
	}
}
