package wechat_test

import (
	"context"
	"encoding/json"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cloudidq/internal/secret"
	"cloudidq/internal/wechat"
)

// call is a request as the server saw it.
type call struct {
	Method, Path, Query, Body string
}

// fakeWeChat is a server with prepared answers, one per call. After the last answer, the server
// repeats it.
type fakeWeChat struct {
	*httptest.Server
	mu    sync.Mutex // guards calls
	calls []call
}

func serve(t *testing.T, answers ...http.HandlerFunc) *fakeWeChat {
	t.Helper()
	f := &fakeWeChat{}
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		f.mu.Lock()
		f.calls = append(f.calls, call{r.Method, r.URL.Path, r.URL.RawQuery, string(body)})
		n := min(len(f.calls), len(answers)) - 1
		f.mu.Unlock()
		answers[n](w, r)
	}))
	t.Cleanup(f.Close)
	return f
}

func (f *fakeWeChat) seen() []call {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls
}

// requested returns the cloudIDs of each call.
func (f *fakeWeChat) requested(t *testing.T) [][]string {
	t.Helper()
	var all [][]string
	for _, c := range f.seen() {
		var body struct {
			IDs []string `json:"cloudid_list"`
		}
		if err := json.Unmarshal([]byte(c.Body), &body); err != nil {
			t.Fatalf("body %q: %v", c.Body, err)
		}
		all = append(all, body.IDs)
	}
	return all
}

func answer(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain") // WeChat does this too; it must have no effect
		_, _ = io.WriteString(w, body)
	}
}

func hangUp(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

func newClient(t *testing.T, url string) *wechat.Client {
	t.Helper()
	client, err := wechat.New(wechat.Config{BaseURL: url})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

func request(ids ...string) wechat.Request {
	req := wechat.Request{AppID: "wx00", OpenID: "o-1"}
	for _, id := range ids {
		req.Items = append(req.Items, wechat.Item{CloudID: id, SendBy: time.Now().Add(time.Minute)})
	}
	return req
}

func token() wechat.TokenSource { return wechat.StaticToken(secret.New("token-1")) }

func TestNew_ReportsAllErrors(t *testing.T) {
	_, err := wechat.New(wechat.Config{BaseURL: "ftp://x", Timeout: -1, MaxConns: -1})
	for _, want := range []string{"base URL", "timeout", "max conns"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New = %v, want it to name %q", err, want)
		}
	}
	for _, bad := range []string{"", "api.weixin.qq.com", "https://", "https://u:hunter2@x", "https://x?a=hunter2", "https://x#f", ":hunter2"} {
		if _, err := wechat.New(wechat.Config{BaseURL: bad}); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("New(%q) = %v, want an error that does not repeat the URL", bad, err)
		}
	}
}

func TestNew_Transport(t *testing.T) {
	transport := newClient(t, "https://api.weixin.qq.com").HTTPTransport()
	if transport.Proxy != nil || !transport.DisableCompression || transport.MaxIdleConnsPerHost != 512 {
		t.Errorf("transport = proxy %v, compression off %v, idle %d; want none, true, 512",
			transport.Proxy != nil, transport.DisableCompression, transport.MaxIdleConnsPerHost)
	}
}

func TestGetOpenData_Request(t *testing.T) {
	ok := answer(list(entry("a", `{"data":{}}`)))
	tests := []struct {
		name, base, openID string
		token              wechat.Token
		want               call
	}{
		{"Usual", "", "o-1", wechat.Token{Param: "access_token", Value: secret.New("T")},
			call{"POST", "/wxa/getopendata", "access_token=T&openid=o-1", `{"cloudid_list":["a"]}`}},
		{"NoOpenID", "", "", wechat.Token{Param: "access_token", Value: secret.New("T")},
			call{"POST", "/wxa/getopendata", "access_token=T", `{"cloudid_list":["a"]}`}},
		{"SideCar", "", "o-1", wechat.Token{}, call{"POST", "/wxa/getopendata", "openid=o-1", `{"cloudid_list":["a"]}`}},
		{"SideCarNoOpenID", "", "", wechat.Token{}, call{"POST", "/wxa/getopendata", "", `{"cloudid_list":["a"]}`}},
		{"TokenFile", "", "", wechat.Token{Param: "cloudbase_access_token", Value: secret.New("T")},
			call{"POST", "/wxa/getopendata", "cloudbase_access_token=T", `{"cloudid_list":["a"]}`}},
		{"Escaped", "", "o&=/", wechat.Token{Param: "access_token", Value: secret.New("T+ &")},
			call{"POST", "/wxa/getopendata", "access_token=T%2B+%26&openid=o%26%3D%2F", `{"cloudid_list":["a"]}`}},
		{"BaseWithPath", "/proxy/", "", wechat.Token{}, call{"POST", "/proxy/wxa/getopendata", "", `{"cloudid_list":["a"]}`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			server := serve(t, ok)
			req := request("a")
			req.OpenID = tt.openID
			got := newClient(t, server.URL+tt.base).GetOpenData(t.Context(), &fakeTokens{tokens: []wechat.Token{tt.token}}, req)
			want := data("a", "other", "{}")
			want.Attempts = 1
			if diff := cmp.Diff([]wechat.Outcome{want}, got); diff != "" {
				t.Errorf("outcomes (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff([]call{tt.want}, server.seen()); diff != "" {
				t.Errorf("calls (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRequestBody_IsJSON(t *testing.T) {
	ids := []string{"69_aZ-_", `q"\`, "中文", "a\nb", "<&>", ""}
	var got struct {
		IDs []string `json:"cloudid_list"`
	}
	if err := json.Unmarshal(wechat.RequestBody(ids), &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(ids, got.IDs); diff != "" {
		t.Errorf("cloudid_list (-want +got):\n%s", diff)
	}
}

func TestGetOpenData_FollowsNoRedirect(t *testing.T) {
	elsewhere := serve(t, answer(list(entry("a", `{"data":{}}`))))
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
	})
	got := newClient(t, server.URL).GetOpenData(t.Context(), token(), request("a"))
	want := refusal("a", wechat.ClassApp, 0, "HTTP 307")
	want.Attempts = 1
	if diff := cmp.Diff([]wechat.Outcome{want}, got); diff != "" {
		t.Errorf("outcomes (-want +got):\n%s", diff)
	}
	if n := len(elsewhere.seen()); n != 0 {
		t.Errorf("the redirect was followed %d times, want 0", n)
	}
}

func TestGetOpenData_TransportErrorsAreRetried(t *testing.T) {
	const limit = 1<<20 + 64<<10
	big := strings.Repeat(" ", 50<<20)
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	tests := []struct {
		name    string
		handler http.HandlerFunc // nil means that no server is listening
		want    string
	}{
		{"Status500", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }, "HTTP 500"},
		{"HTML", answer("<html>"), "answer is not JSON"},
		{"ConnectionClosed", hangUp, "no answer: connection closed"},
		{"CutShort", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, `{"errcode":0,`)
		}, "answer is cut short"},
		{"TooLongAnnounced", answer(big), "answer exceeds 1114112 bytes"},
		{"TooLongChunked", func(w http.ResponseWriter, _ *http.Request) {
			for i := 0; i < 50 && w.(http.Flusher) != nil; i++ {
				if _, err := io.WriteString(w, big[:1<<20]); err != nil {
					return
				}
			}
		}, "answer exceeds 1114112 bytes"},
		{"Reset", func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				return
			}
			_ = conn.(*net.TCPConn).SetLinger(0)
			_ = conn.Close()
		}, "no answer: connection reset"},
		{"Refused", nil, "no answer: connection refused"},
	}
	if limit != 1114112 {
		t.Fatal("the expected texts contain an outdated limit")
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			url, calls := closed.URL, func() int { return 3 }
			if tt.handler != nil {
				server := serve(t, tt.handler)
				url, calls = server.URL, func() int { return len(server.seen()) }
			}
			got := newClient(t, url).GetOpenData(t.Context(), token(), request("a"))
			want := refusal("a", wechat.ClassRetry, 0, tt.want)
			want.Attempts = 3
			if diff := cmp.Diff([]wechat.Outcome{want}, got); diff != "" {
				t.Errorf("outcomes (-want +got):\n%s", diff)
			}
			if n := calls(); n != 3 {
				t.Errorf("%d requests, want 3", n)
			}
		})
	}
}

func TestGetOpenData_NotTLS(t *testing.T) {
	server := serve(t, answer(`{}`))
	selfSigned := httptest.NewUnstartedServer(http.NotFoundHandler())
	// discard the log messages about failed handshakes
	selfSigned.Config.ErrorLog = log.New(io.Discard, "", 0)
	selfSigned.StartTLS()
	defer selfSigned.Close()
	for url, want := range map[string]string{
		strings.Replace(server.URL, "http:", "https:", 1): "no answer: the other side does not speak TLS",
		selfSigned.URL:                 "no answer: certificate not trusted",
		"http://no-such-host.invalid.": "no answer: host not found",
	} {
		got := newClient(t, url).GetOpenData(t.Context(), token(), request("a"))
		if got[0].Err == nil || got[0].Err.Class != wechat.ClassRetry || got[0].Err.Message != want {
			t.Errorf("error of %s = %+v, want %q", url, got[0].Err, want)
		}
	}
}

// With a real connection: if dialing takes too long for an item, no part of it reaches the server.
func TestGetOpenData_SlowDialSendsNothingLate(t *testing.T) {
	server := serve(t, answer(list(entry("b", `{"data":{}}`))))
	client := newClient(t, server.URL)
	req := request("a", "b")
	req.Items[0].SendBy = time.Now().Add(20 * time.Millisecond)
	client.HTTPTransport().DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		<-time.After(time.Until(req.Items[0].SendBy) + time.Millisecond)
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}
	got := client.GetOpenData(t.Context(), token(), req)
	want := []wechat.Outcome{refusal("a", wechat.ClassRetry, 0, notSent), attempts(1, data("b", "other", `{}`))}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("outcomes (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([][]string{{"b"}}, server.requested(t)); diff != "" {
		t.Errorf("requested cloudIDs (-want +got):\n%s", diff)
	}
}

// If waiting for a free connection takes too long for an item, nothing of it is sent.
func TestGetOpenData_BusyConnectionsSendNothingLate(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	server := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		close(arrived)
		<-release
		_, _ = io.WriteString(w, list(entry("a", `{"data":{}}`)))
	})
	client, err := wechat.New(wechat.Config{BaseURL: server.URL, MaxConns: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	var first, second []wechat.Outcome
	var wg sync.WaitGroup
	wg.Go(func() { first = client.GetOpenData(t.Context(), token(), request("a")) })
	<-arrived
	req := request("b")
	req.Items[0].SendBy = time.Now().Add(20 * time.Millisecond)
	wg.Go(func() { second = client.GetOpenData(t.Context(), token(), req) })
	<-time.After(time.Until(req.Items[0].SendBy) + time.Millisecond)
	close(release)
	wg.Wait()
	want := []wechat.Outcome{attempts(1, data("a", "other", `{}`)), refusal("b", wechat.ClassRetry, 0, notSent)}
	if diff := cmp.Diff(want, append(first, second...)); diff != "" {
		t.Errorf("outcomes (-want +got):\n%s", diff)
	}
	if n := len(server.seen()); n != 1 {
		t.Errorf("%d requests, want 1", n)
	}
}

func TestGetOpenData_EmptyRequestSendsNothing(t *testing.T) {
	server := serve(t, answer(`{}`))
	got := newClient(t, server.URL).GetOpenData(t.Context(), token(), request())
	if len(got) != 0 || len(server.seen()) != 0 {
		t.Errorf("GetOpenData without items = %v after %d requests, want none of either", got,
			len(server.seen()))
	}
}

// If the server has closed an idle connection, the transport repeats the request with the whole
// body. This is not counted as an attempt.
func TestGetOpenData_ClosedIdleConnectionCostsNoAttempt(t *testing.T) {
	server := serve(t, answer(list(entry("a", `{"data":{}}`))))
	client := newClient(t, server.URL)
	for range 3 {
		got := client.GetOpenData(t.Context(), token(), request("a"))
		if got[0].Err != nil {
			t.Fatal(got[0].Err)
		}
		server.CloseClientConnections()
	}
	for _, c := range server.seen() {
		if c.Body != `{"cloudid_list":["a"]}` {
			t.Errorf("body = %q, want the whole list", c.Body)
		}
	}
}
