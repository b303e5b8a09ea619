package httpapi

import (
	"fmt"
	"log/slog"
	"math"
	"net/http"

	"cloudidq/internal/wechat/push"
)

// problemsOf turns the plain-text 404 and 405 responses of [http.ServeMux] into problems.
func problemsOf(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, pattern := mux.Handler(r); pattern != "" {
			mux.ServeHTTP(w, r)
			return
		}
		mux.ServeHTTP(&unrouted{ResponseWriter: w}, r)
	})
}

// unrouted replaces the response of the mux to a request that matches no route.
type unrouted struct {
	http.ResponseWriter
	written bool
}

// WriteHeader implements [http.ResponseWriter].
func (u *unrouted) WriteHeader(status int) {
	u.written = true
	switch status {
	case http.StatusNotFound:
		httpError(u.ResponseWriter, status, "no such route")
	case http.StatusMethodNotAllowed:
		httpError(u.ResponseWriter, status,
			"the route does not support this method; see the Allow header")
	default: // a redirect to the clean path
		u.ResponseWriter.WriteHeader(status)
	}
}

// Write implements [http.ResponseWriter].
func (u *unrouted) Write(text []byte) (int, error) {
	if !u.written {
		u.WriteHeader(http.StatusNotFound)
	}
	return len(text), nil
}

// sameOrigin rejects requests that a page of another origin makes a browser send. A browser adds
// a key that the user has typed in once to every such request. Clients that are not browsers
// send no origin and are let through.
func sameOrigin(next http.Handler) http.Handler {
	guard := http.NewCrossOriginProtection()
	guard.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		httpError(w, http.StatusForbidden, "the request comes from a page of another origin")
	}))
	return guard.Handler(next)
}

// notTooLarge rejects a body by its declared length. A backfill may have any size. The
// monitoring pages are exempt too, because asynqmon defines their requests.
func notTooLarge(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		most := int64(maxBodyBytes)
		switch {
		case isPush(r.URL.Path):
			most = push.MaxBytes
		case r.URL.Path == "/v1/backfills" || isPage(r.URL.Path):
			most = math.MaxInt64
		}
		if r.ContentLength > most {
			httpError(w, http.StatusRequestEntityTooLarge,
				fmt.Sprintf("the body is too large: at most %d KiB are allowed", most>>10))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// recoverPanics responds with 500 if a handler panics. It does not log the panic value, which
// may contain submitted data.
func recoverPanics(log *slog.Logger, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			switch p := recover(); p {
			case nil:
			case http.ErrAbortHandler:
				panic(p) // net/http aborts the connection
			default:
				log.Error("handler panicked", "route", routeFrom(r.Context()))
				httpError(w, http.StatusInternalServerError, "")
			}
		}()
		next.ServeHTTP(w, r)
	})
}

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
