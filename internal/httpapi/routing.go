package httpapi

import (
	"fmt"
	"log/slog"
	"math"
	"net/http"

	"cloudidq/internal/wechat/push"
)

// problemsOf turns the plain texts of 404 and 405, with which [http.ServeMux] answers by itself, into problems.
func problemsOf(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, pattern := mux.Handler(r); pattern != "" {
			mux.ServeHTTP(w, r)
			return
		}
		mux.ServeHTTP(&unrouted{ResponseWriter: w}, r)
	})
}

// unrouted replaces whatever the mux says about a request that no route takes.
type unrouted struct {
	http.ResponseWriter
	done bool
}

// WriteHeader implements [http.ResponseWriter].
func (u *unrouted) WriteHeader(status int) {
	u.done = true
	switch status {
	case http.StatusNotFound:
		refuse(u.ResponseWriter, status, "there is no such route")
	case http.StatusMethodNotAllowed:
		refuse(u.ResponseWriter, status, "the route takes another method, see the Allow header")
	default: // a redirect to the clean path
		u.ResponseWriter.WriteHeader(status)
	}
}

// Write implements [http.ResponseWriter].
func (u *unrouted) Write(text []byte) (int, error) {
	if !u.done {
		u.WriteHeader(http.StatusNotFound)
	}
	return len(text), nil
}

// sameOrigin refuses what a page of another origin lets a browser send: browsers add the key of a person who has typed it
// in once, wherever a request comes from. Who is no browser says nothing of origins and is let through.
func sameOrigin(next http.Handler) http.Handler {
	guard := http.NewCrossOriginProtection()
	guard.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		refuse(w, http.StatusForbidden, "this was sent by a page of another origin")
	}))
	return guard.Handler(next)
}

// notTooLarge refuses a body by the length that its head declares. A backfill may be of any size, and the queues' pages send
// what asynqmon does.
func notTooLarge(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		most := int64(bodyMax)
		switch {
		case pushed(r.URL.Path):
			most = push.MaxBytes
		case r.URL.Path == "/v1/backfills" || browsed(r.URL.Path):
			most = math.MaxInt64
		}
		if r.ContentLength > most {
			refuse(w, http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is too large: it may have %d KiB", most>>10))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// recoverPanics answers 500 where a handler panics. The value is not logged: it may hold what was submitted.
func recoverPanics(log *slog.Logger, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			switch p := recover(); p {
			case nil:
			case http.ErrAbortHandler:
				panic(p) // net/http's way to end a connection
			default:
				log.Error("a handler has panicked", "route", routeIn(r.Context()))
				refuse(w, http.StatusInternalServerError, "")
			}
		}()
		next.ServeHTTP(w, r)
	})
}
