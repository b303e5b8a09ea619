package httpapi_test

import (
	"strings"
	"testing"
)

// Every response forbids caching and content sniffing: records, look-ups, results, rejects,
// events, deliveries, problems and pages. Only the files of the status page, which contain no
// data, may be cached.
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
		for _, req := range append(append([]request{}, r.bad...), r.good...) {
			for _, key := range []string{admin, "", "a-wrong-key-of-sixteen"} {
				header := req.header
				if key != "" {
					header = append([]string{"Authorization", "Bearer " + key}, req.header...)
				}
				got := w.call(method, w.ids.Replace(req.path), req.body, header...)
				wantPrivate(t, method+" "+req.path, got)
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
