package httpapi_test

import (
	"net/http"
	"strings"
	"testing"

	"cloudidq/internal/httpapi"
)

// Wrong keys from an address are limited, however many there are. A valid key from the same
// address is always admitted, on every route.
func TestAuth_WrongKeys_DoNotBlockValidKeys(t *testing.T) {
	b := newFixture(t, allKeys()...)
	b.save("wxA", "73_1")
	id := parse[acceptedBody](t, b.call("POST", "/v1/backfills?appid=wxA", `{"cloud_id":7}`, "Authorization", "Bearer "+admin).body).ID
	refused := 0
	for range 30 {
		got := b.call("GET", "/v1/deliveries", "", "Authorization", "Bearer planted-guess")
		if got.status == http.StatusTooManyRequests {
			refused++
			wantProblem(t, got, http.StatusTooManyRequests)
			if got.header.Get("Retry-After") == "" || strings.Contains(got.body, "planted") {
				t.Errorf("answer = %v %s", got.header, got.body)
			}
		} else if got.status != http.StatusUnauthorized {
			t.Errorf("a wrong key = %d %s", got.status, got.body)
		}
	}
	if refused == 0 {
		t.Error("no wrong key got 429")
	}
	for _, tt := range []struct{ method, path, body string }{
		{"GET", "/v1/resolutions/wxA/73_1", ""},
		{"POST", "/v1/resolutions", `{"appid":"wxA","cloud_ids":["73_2"]}`},
		{"POST", "/v1/backfills?appid=wxA", `{"cloud_id":"73_3"}`},
		{"GET", "/v1/backfills/" + id + "/events", ""},
		{"GET", "/v1/status", ""},
		{"GET", "/", ""},
		{"GET", "/monitoring/api/queues", ""},
	} {
		for way, header := range map[string]string{"Bearer": "Bearer " + admin, "Basic": basic(admin)[1]} {
			if got := b.call(tt.method, tt.path, tt.body, "Authorization", header); got.status >= 300 {
				t.Errorf("%s %s by %s with a valid key = %d %s", tt.method, tt.path, way, got.status, got.body)
			}
			if got := b.call(tt.method, tt.path, tt.body, "Authorization", strings.Replace(header, " ", " x", 1)); got.status != 401 && got.status != 429 {
				t.Errorf("%s %s by %s with a wrong key = %d", tt.method, tt.path, way, got.status)
			}
		}
	}
}

// Behind a trusted proxy, wrong keys count for the client that sends them, not for all clients
// of the proxy.
func TestAuth_WrongKeys_BehindProxy(t *testing.T) {
	b := newFixtureWithConfig(t, httpapi.Config{Keys: allKeys(), TrustedProxies: trustedProxies},
		func(*httpapi.Server) {})
	guess := func(client string) int {
		return b.call("GET", "/v1/deliveries", "", "Authorization", "Bearer guess", "X-Forwarded-For", "192.0.2.77, "+client).status
	}
	for range 20 {
		guess("198.51.100.1")
	}
	if got := guess("198.51.100.1"); got != http.StatusTooManyRequests {
		t.Errorf("the guessing client got %d, want 429", got)
	}
	if got := guess("198.51.100.2"); got != http.StatusUnauthorized {
		t.Errorf("another client's first wrong key got %d, want 401", got)
	}
	for range 20 { // addresses in one /64 count as one client
		guess("2001:db8::1")
		guess("2001:db8::2")
	}
	if got := guess("2001:db8::3"); got != http.StatusTooManyRequests {
		t.Errorf("another address of the same /64 got %d, want 429", got)
	}
}
