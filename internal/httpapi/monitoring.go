package httpapi

import (
	"net/http"
	"regexp"
)

// Monitoring are the pages of the queues.
type Monitoring interface {
	// Handler serves them below /monitoring; without mayChange it refuses what changes something.
	Handler(mayChange bool) http.Handler
}

// monitors reports whether a key may see the queues. They hold the tasks of all apps, so a key of some apps may not.
func monitors(key *Key) bool {
	return len(key.apps) == 0 && (key.has(ScopeRead) || key.has(ScopeAdmin))
}

// serveMonitoring lets keys with scope read look, and those with scope admin change.
func (s *Server) serveMonitoring(pages Monitoring) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key := caller(r.Context())
		if !monitors(key) {
			refuse(w, http.StatusForbidden, "the queues hold tasks of all apps: a key that reaches all, with scope read or admin, is needed")
			return
		}
		changes := r.Method != http.MethodGet && r.Method != http.MethodHead
		if changes && !key.has(ScopeAdmin) {
			refuse(w, http.StatusForbidden, "the key has no scope admin, it may only look")
			return
		}
		answer := &statusWriter{ResponseWriter: w}
		pages.Handler(key.has(ScopeAdmin)).ServeHTTP(answer, r)
		if changes && answer.sent() < http.StatusBadRequest { // the audit line
			queue, what := actionOf(r)
			s.log.Info("a queue was changed by hand", "queue", queue, "action", what, "key", key.Name)
		}
	})
}

var queueAction = regexp.MustCompile(`^/monitoring/api/queues/([a-z]+)(?:/([a-z]+_tasks))?(?:/[^/:]+)?(?::([a-z_]+))?$`)

// actionOf names what a request changes, without ids.
func actionOf(r *http.Request) (queue, action string) {
	parts := queueAction.FindStringSubmatch(r.URL.Path)
	if parts == nil {
		return "", r.Method
	}
	action = parts[3]
	if action == "" {
		action = r.Method
	}
	return parts[1], parts[2] + ":" + action
}
