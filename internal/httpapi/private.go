package httpapi

import "net/http"

// private keeps every response out of caches, and stops browsers from guessing its content type.
// Nearly all responses contain user data, and the others are cheap to send again. A handler of
// public files sets its own Cache-Control.
func private(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		next.ServeHTTP(w, r)
	})
}
