package httpapi_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"cloudidq/internal/httpapi"
	"cloudidq/internal/secret"
	"cloudidq/tasks"
)

// A key is valid until NotAfter, inclusive. After that, it counts as unknown.
func TestAuth_ExpiredKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const expiring, shared = "key-that-expires-in-an-hour", "key-that-is-listed-twice"
		keys := []httpapi.Key{
			httpapi.NewKey("expiring", secret.New(expiring), httpapi.Scopes, nil),
			httpapi.NewKey("new", secret.New(shared), httpapi.Scopes, nil),
			httpapi.NewKey("old", secret.New(shared), httpapi.Scopes, nil),
		}
		keys[0].NotAfter = time.Now().Add(time.Hour)
		keys[2].NotAfter = keys[0].NotAfter
		o := observe(t, keys...)
		want := func(key string, status int) {
			t.Helper()
			if got := o.call(t, "POST", "/v1/resolutions", plantedRequest, "Authorization", "Bearer "+key); got != status {
				t.Errorf("with %s: %d, want %d", key, got, status)
			}
		}
		want(expiring, 202)
		time.Sleep(time.Hour)
		want(expiring, 202) // still valid at exactly NotAfter
		time.Sleep(time.Nanosecond)
		for range 20 { // an expired key does not count as a wrong key
			want(expiring, 401)
		}
		want(shared, 202)
		if log := o.log.String(); strings.Count(log, "expired key used") != 20 ||
			!strings.Contains(log, "key=expiring") || strings.Contains(log, expiring) {
			t.Errorf("log = %s", log)
		}
	})
}

func TestAuth(t *testing.T) {
	b := newFixture(t, allKeys()...)
	b.save("wxA", "73_1")
	b.save("wxB", "73_1")
	resolveA, resolveB := `{"appid":"wxA","cloud_ids":["x"]}`, `{"appid":"wxB","cloud_ids":["x"]}`
	for name, tt := range map[string]struct {
		token, method, path, body string
		prefer                    string
		want                      int
	}{
		"NoKey":           {"", "GET", "/v1/resolutions/wxA/73_1", "", "", 401},
		"WrongKey":        {"planted", "GET", "/v1/resolutions/wxA/73_1", "", "", 401},
		"Admin":           {admin, "GET", "/v1/resolutions/wxB/73_1", "", "", 200},
		"OwnApp":          {shopA, "GET", "/v1/resolutions/wxA/73_1", "", "", 200},
		"OtherAppGet":     {shopA, "GET", "/v1/resolutions/wxB/73_1", "", "", 403},
		"OtherAppLookup":  {shopA, "POST", "/v1/resolutions/lookup", resolveB, "", 403},
		"OtherAppResolve": {shopA, "POST", "/v1/resolutions", resolveB, "", 403},
		"OtherAppWait":    {shopA, "POST", "/v1/resolutions", resolveB, "wait=5", 403},
		"OtherAppErase":   {shopA, "DELETE", "/v1/subjects/wxB/o1", "", "", 403},
		"OtherAppList":    {shopA, "GET", "/v1/deliveries?appid=wxB", "", "", 403},
		"ReaderResolves":  {reader, "POST", "/v1/resolutions", resolveA, "", 403},
		"ReaderErases":    {reader, "DELETE", "/v1/subjects/wxA/o1", "", "", 403},
		"ShopReplays":     {shopA, "POST", "/v1/deliveries/x/replay", "", "", 403},
		"ShopTests":       {shopA, "POST", "/v1/webhooks/orders/test", "", "", 403},
		"Description":     {"", "GET", "/openapi.yaml", "", "", 200},
		"NoRoute":         {"", "GET", "/planted", "", "", 401},
		"NoRouteWithKey":  {admin, "GET", "/planted", "", "", 404},
		"WrongMethod":     {admin, "PUT", "/v1/resolutions", "", "", 405},
	} {
		t.Run(name, func(t *testing.T) {
			header := []string{"Prefer", tt.prefer}
			if tt.token != "" {
				header = append(header, "Authorization", "Bearer "+tt.token)
			}
			got := b.call(tt.method, tt.path, tt.body, header...)
			if tt.want >= 400 {
				wantProblem(t, got, tt.want)
			} else if got.status != tt.want {
				t.Errorf("answer = %d %s, want %d", got.status, got.body, tt.want)
			}
			if strings.Contains(got.body, "planted") || tt.want == 401 && got.header.Get("WWW-Authenticate") == "" {
				t.Errorf("answer = %v %s", got.header, got.body)
			}
		})
	}
	if n := len(b.queued(tasks.QueueEvents)); n != 0 {
		t.Errorf("%d tasks are queued", n)
	}
	if rec, err := b.results.Lookup(t.Context(), "wxB", []string{"73_1"}); err != nil || rec[0].Status == "" {
		t.Errorf("app B's record = %+v, %v, want it unchanged", rec, err)
	}
	// A client that guesses keys gets 429 after ten attempts.
	for range 20 {
		b.call("GET", "/v1/deliveries", "", "Authorization", "Bearer guess")
	}
	got := b.call("GET", "/v1/deliveries", "", "Authorization", "Bearer guess")
	wantProblem(t, got, 429)
	if got.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
}
