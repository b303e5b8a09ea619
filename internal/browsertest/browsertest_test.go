package browsertest

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"
)

// A page records each kind of error, and a page without errors records none. This shows that
// WantNoErrors can fail.
func TestPage_RecordsErrors(t *testing.T) {
	const ok = `<!doctype html><link rel=icon href=data:,><title>t</title>`
	pages := map[string]string{
		"/good":      ok + `<script>console.log("fine")</script>`,
		"/exception": ok + `<script>throw new Error("planted")</script>`,
		"/console":   ok + `<script>console.error("planted", 1)</script>`,
		"/lost":      ok + `<img src=/planted>`,
		"/refused":   `<!doctype html><meta http-equiv=Content-Security-Policy content="script-src 'none'"><link rel=icon href=data:,><script src=/planted></script>`,
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, password, _ := r.BasicAuth()
		text, found := pages[r.URL.Path]
		switch {
		case !found:
			http.NotFound(w, r)
		case password != "key":
			w.Header().Set("WWW-Authenticate", `Basic realm="t"`)
			w.WriteHeader(http.StatusUnauthorized)
		default:
			w.Header().Set("Content-Type", "text/html")
			_, _ = fmt.Fprint(w, text)
		}
	}))
	t.Cleanup(server.Close)
	browser := Start(t)
	for path := range pages {
		page := browser.Page(t, Key("key"))
		page.Open(server.URL + path)
		if path == "/good" {
			if page.Eval("document.title") != "t" || !slices.Contains(page.URLs(), server.URL+path) {
				t.Errorf("title = %q, requests = %q", page.Eval("document.title"), page.URLs())
			}
			page.WantNoErrors()
			continue
		}
		poll(t, func() bool { return strings.Contains(strings.Join(page.faultsSoFar(), " "), "planted") }, func() string {
			return fmt.Sprintf("%s: recorded errors are %q", path, page.faultsSoFar())
		})
	}
}

// poll waits until done returns true, or fails the test with the text of why.
func poll(t *testing.T, done func() bool, why func() string) {
	t.Helper()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for deadline := time.Now().Add(stepTimeout); !done(); <-tick.C {
		if time.Now().After(deadline) {
			t.Error(why())
			return
		}
	}
}
