package httpapi_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"cloudidq/internal/httpapi"
	"cloudidq/tasks"
)

func TestLoopbackHost(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]bool{
		"localhost": true, "localhost:8080": true, "LOCALHOST": true, "localhost.": true, "api.localhost:1": true,
		"127.0.0.1": true, "127.0.0.1:8080": true, "127.9.8.7": true, "[::1]": true, "[::1]:8080": true, "::1": true,
		"[::ffff:127.0.0.1]:80": true,
		"":                      false, ":8080": false, "planted.example": false, "planted.example:8080": false, "localhost.planted.example": false,
		"notlocalhost": false, "127.0.0.1.planted.example": false, "192.168.0.1": false, "0.0.0.0": false, "[::]:80": false,
		"10.0.0.1:8080": false, "[2001:db8::1]": false,
	} {
		if got := httpapi.LoopbackHost(host); got != want {
			t.Errorf("LoopbackHost(%q) = %t", host, got)
		}
	}
}

// callHost sends a request with a Host header.
func (b *fixture) callHost(host, method, path, body string, header ...string) reply {
	b.Helper()
	req, err := http.NewRequestWithContext(b.Context(), method, b.url+path, strings.NewReader(body))
	if err != nil {
		b.Fatal(err)
	}
	req.Host = host
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		b.Fatal(err)
	}
	return reply{resp.StatusCode, resp.Header, string(text)}
}

// Without keys, a web page whose name resolves to 127.0.0.1 cannot use any route.
func TestHosts_WithoutKeys_LoopbackOnly(t *testing.T) {
	b := newFixture(t)
	requests := [][3]string{
		{"GET", "/v1/status"},
		{"GET", "/"},
		{"GET", "/status/page.css"},
		{"GET", "/openapi.yaml"},
		{"GET", "/v1/deliveries"},
		{"GET", "/v1/backfills/bf_x/events"},
		{"GET", "/nothing"},
		{"DELETE", "/v1/subjects/wxA/o1"},
		{"POST", "/v1/resolutions", `{"appid":"wxA","cloud_ids":["73_planted"]}`},
		{"POST", "/v1/backfills?appid=wxA", `{"cloud_id":"73_planted"}`},
		{"GET", "/monitoring/"},
		{"POST", "/monitoring/api/queues/events:pause"},
	}
	for _, req := range requests {
		for _, host := range []string{"planted.example:8080", "localhost.planted.example", "192.168.0.1"} {
			wantProblem(t, b.callHost(host, req[0], req[1], req[2], "Content-Type", "application/json"),
				http.StatusMisdirectedRequest)
		}
	}
	if n := len(b.queued(tasks.QueueEvents)) + len(b.queued(tasks.QueueBackfill)); n != 0 {
		t.Errorf("%d tasks are queued", n)
	}
	_, port, _ := strings.Cut(strings.TrimPrefix(b.url, "http://"), ":")
	for _, host := range []string{"localhost:" + port, "127.0.0.1:" + port, "[::1]:" + port, "cloudidq.localhost"} {
		for _, req := range requests {
			if got := b.callHost(host, req[0], req[1], req[2], "Content-Type",
				"application/json"); got.status == http.StatusMisdirectedRequest {
				t.Errorf("%s %s of %s = %d", req[0], req[1], host, got.status)
			}
		}
	}
	// WeChat's pushes come through a proxy, carry its name, and are signed.
	if got := b.callHost("pushes.example.com", "POST", "/v1/wechat/components/wxc/events",
		"<xml/>"); got.status != 200 {
		t.Errorf("a push = %d %s", got.status, got.body)
	}
}

// With keys, any Host header is accepted, because a web page does not know a key.
func TestHosts_WithKeys_AnyHost(t *testing.T) {
	b := newFixture(t, allKeys()...)
	if got := b.callHost("api.example.com", "GET", "/v1/status", "", "Authorization",
		"Bearer "+admin); got.status != 200 {
		t.Errorf("answer = %d %s", got.status, got.body)
	}
}

// A page of another origin cannot change anything, even without keys. This holds for every
// content type that it can send without a preflight request.
func TestHosts_OtherOriginsChangeNothing(t *testing.T) {
	b := newFixture(t)
	_, port, _ := strings.Cut(strings.TrimPrefix(b.url, "http://"), ":")
	host := "localhost:" + port
	for _, from := range [][]string{
		{"Sec-Fetch-Site", "cross-site"},
		{"Sec-Fetch-Site", "same-site"},
		{"Origin", "https://planted.example"},
		{"Origin", "http://localhost:1"},
		{"Origin", "null"},
	} {
		for _, kind := range []string{"text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/json"} {
			header := append([]string{"Content-Type", kind}, from...)
			wantProblem(t, b.callHost(host, "POST", "/v1/backfills?appid=wxA", `{"cloud_id":"73_planted"}`, header...), http.StatusForbidden)
			wantProblem(t, b.callHost(host, "POST", "/monitoring/api/queues/events:pause", "", header...),
				http.StatusForbidden)
			wantProblem(t, b.callHost(host, "DELETE", "/v1/subjects/wxA/o1", "", header...),
				http.StatusForbidden)
		}
	}
	if n := len(b.queued(tasks.QueueBackfill)); n != 0 {
		t.Errorf("%d tasks are queued", n)
	}
}
