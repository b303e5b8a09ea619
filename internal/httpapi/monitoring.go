package httpapi

import (
	"net/http"
	"regexp"
)

// Monitoring provides the web pages of the queues.
type Monitoring interface {
	// Handler serves the pages below /monitoring. Without mayChange, it rejects every change.
	Handler(mayChange bool) http.Handler
}

// monitors reports whether a key may see the queues. The queues hold tasks of all apps, so the
// key must be valid for all apps.
func monitors(key *Key) bool {
	return len(key.apps) == 0 && (key.hasScope(ScopeRead) || key.hasScope(ScopeAdmin))
}

// serveMonitoring lets keys with scope read or admin view the queues, and keys with scope admin
// change them.
func (s *Server) serveMonitoring(pages Monitoring) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key := caller(r.Context())
		if !monitors(key) {
			httpError(w, http.StatusForbidden,
				"the queues contain tasks of all apps: a key for all apps with scope read or admin is required")
			return
		}
		changes := r.Method != http.MethodGet && r.Method != http.MethodHead
		if changes && !key.hasScope(ScopeAdmin) {
			httpError(w, http.StatusForbidden, "the key does not have scope admin; it may only read")
			return
		}
		answer := &statusWriter{ResponseWriter: w}
		pages.Handler(key.hasScope(ScopeAdmin)).ServeHTTP(answer, r)
		if changes && answer.statusCode() < http.StatusBadRequest { // audit log
			queue, what := actionOf(r)
			s.log.Info("queue changed by an operator", "queue", queue, "action", what, "key", key.Name)
		}
	})
}

// queueAction matches a path of asynqmon's API: the queue, the state of the tasks, and the action.
var queueAction = regexp.MustCompile(`^/monitoring/api/queues/([a-z]+)(?:/([a-z]+_tasks))?(?:/[^/:]+)?(?::([a-z_]+))?$`)

// actionOf returns the queue and the action of a request for the audit log, without task ids.
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
