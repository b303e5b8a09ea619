package httpapi_test

import (
	"strings"
	"testing"
)

// No proxy and no browser keeps an answer, and none takes one for something else than it says: records, lookups, results,
// rejects, events, deliveries, refusals, what people look at. The files of the status page, which hold nothing of anybody, are
// the only ones to be kept.
func TestPrivate_EveryRoute(t *testing.T) {
	w := newWalk(t)
	all := append(append([]route{}, routes...), pages...)
	all = append(all,
		route{at: "GET /", good: []request{{path: "/v1/nothing"}, {path: "/monitoring"}, {path: "/v1//status"}}},
		route{at: "GET /monitoring/", good: []request{{path: "/monitoring/queues/events"}, {path: "/monitoring/api/queues/planted"}, {path: "/monitoring/static/nothing.js"}}},
		route{at: "TRACE /", good: []request{{path: "/v1/status"}}},
	)
	for _, r := range all {
		method, _, _ := strings.Cut(r.at, " ")
		for _, ask := range append(append([]request{}, r.bad...), r.good...) {
			for _, key := range []string{admin, "", "a-wrong-key-of-sixteen"} {
				header := ask.header
				if key != "" {
					header = append([]string{"Authorization", "Bearer " + key}, ask.header...)
				}
				got := w.call(method, w.ids.Replace(ask.path), ask.body, header...)
				wantPrivate(t, method+" "+ask.path, got)
			}
		}
	}
	if got := w.call("GET", "/status/page.css", ""); !strings.HasPrefix(got.header.Get("Cache-Control"), "public") || got.header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("/status/page.css: %v", got.header)
	}
}

func wantPrivate(t *testing.T, what string, got reply) {
	t.Helper()
	if got.header.Get("Cache-Control") != "no-store" || got.header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("%s = %d with Cache-Control %q and X-Content-Type-Options %q, want no-store and nosniff",
			what, got.status, got.header.Get("Cache-Control"), got.header.Get("X-Content-Type-Options"))
	}
}
