package httpapi

import "net/http"

// private keeps every answer out of caches, and its text from being taken for something else than it says: nearly all of them
// are about persons, and those that are not cost little. A handler of what is public says so itself.
func private(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		next.ServeHTTP(w, r)
	})
}
