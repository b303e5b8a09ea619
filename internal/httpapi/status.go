package httpapi

import (
	"context"
	"net/http"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"cloudidq/internal/status"
	"cloudidq/tasks"
)

// overview serves the status of the system, as JSON and as a page.
type overview struct {
	collector  *status.Collector
	page       *status.Page
	monitoring bool // /monitoring/ is served
}

const (
	// Default and maximum number of apps in the JSON.
	statusApps    = 50
	maxStatusApps = status.ManyApps
)

// statusInput holds the query of the JSON status.
type statusInput struct {
	AppID string `query:"appid" pattern:"^[A-Za-z0-9_-]{1,64}$" patternDescription:"1 to 64 letters, digits, - or _" doc:"only this app"`
	Limit int    `query:"limit" minimum:"0" doc:"maximum number of listed apps: 50 by default, at most 500"`
}

type statusOutput struct {
	Body *status.Status
}

// register adds the JSON to api, and the page and its files to mux.
func (h *overview) register(mux *http.ServeMux, api huma.API) {
	op := operation("status", http.MethodGet, "/v1/status",
		"Get throughput, latencies, queues, pauses and webhook states", ScopeRead,
		http.StatusOK, 422, 503)
	op.Description += " A key for some apps gets the status of these apps only. The response " +
		"contains no user data."
	huma.Register(api, op, h.json)
	mux.HandleFunc("GET /{$}", h.html)
	files := http.StripPrefix("/status/", http.FileServerFS(status.Files()))
	mux.HandleFunc("GET /status/{file}", func(w http.ResponseWriter, r *http.Request) {
		secure(w.Header(), filesPolicy)
		// The page requests a new version at a new URL, so a day in the cache does no harm.
		w.Header().Set("Cache-Control", "public, max-age=86400")
		files.ServeHTTP(w, r)
	})
}

// json responds with the status as JSON.
func (h *overview) json(ctx context.Context, in *statusInput) (*statusOutput, error) {
	viewer, err := h.viewer(ctx, in.AppID)
	if err != nil {
		return nil, err
	}
	viewer.Limit = statusApps
	if in.Limit > 0 {
		viewer.Limit = min(in.Limit, maxStatusApps)
	}
	s, err := h.collector.For(ctx, viewer)
	if err != nil {
		return nil, storeUnavailable()
	}
	return &statusOutput{s}, nil
}

// viewer returns what the caller may see.
func (h *overview) viewer(ctx context.Context, appID string) (status.Viewer, error) {
	if appID != "" && !tasks.ValidAppID(appID) { // huma does not validate the page's query
		return status.Viewer{}, newProblem(http.StatusUnprocessableEntity, "nothing was read",
			fault{"query.appid", tasks.AppIDProblem(appID)})
	}
	// Without an appid, the caller sees all of its apps, so the scope is enough.
	key := caller(ctx)
	if appID != "" || !key.hasScope(ScopeRead) {
		if err := permit(ctx, ScopeRead, appID); err != nil {
			return status.Viewer{}, err
		}
	}
	return status.Viewer{Apps: key.apps, AppID: appID}, nil
}

// The page loads its own files and requests its own URL, nothing else. No site may frame it.
const (
	pagePolicy  = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
	filesPolicy = "default-src 'none'; frame-ancestors 'none'"
)

// secure sets the security headers of a page or one of its files.
func secure(h http.Header, policy string) {
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
}

// languageCookie is the cookie that stores the chosen language.
const languageCookie = "cloudidq-lang"

// html responds with the page. If Redis does not respond, the page says so.
func (h *overview) html(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	viewer, err := h.viewer(r.Context(), q.Get("appid"))
	if err != nil {
		writeProblem(w, asProblem(err))
		return
	}
	// Choose what to show: the number of apps, and the language.
	viewer.Limit = status.FewApps
	if n, err := strconv.Atoi(q.Get("limit")); err == nil {
		viewer.Limit = min(max(status.FewApps, n), status.ManyApps)
	}
	view := status.View{Viewer: viewer, Monitoring: h.monitoring && monitors(caller(r.Context()))}
	chosen := q.Get("lang")
	if chosen == "" {
		if cookie, err := r.Cookie(languageCookie); err == nil {
			chosen = cookie.Value
		}
	}
	view.Language = status.Language(chosen, r.Header.Get("Accept-Language"))
	// Render the page, also if Redis does not respond.
	code := http.StatusOK
	s, err := h.collector.For(r.Context(), viewer)
	if err != nil {
		code = http.StatusServiceUnavailable
	}
	text, err := h.page.HTML(s, view)
	if err != nil {
		httpError(w, http.StatusInternalServerError, "")
		return
	}
	// Remember an explicit choice for a year.
	if q.Get("lang") != "" {
		http.SetCookie(w, &http.Cookie{
			Name: languageCookie, Value: view.Language.String(), Path: "/", MaxAge: 365 * 24 * 60 * 60,
			HttpOnly: true, SameSite: http.SameSiteLaxMode,
		})
	}
	secure(w.Header(), pagePolicy)
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Vary", "Accept-Language, Cookie, Authorization")
	if code == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "5")
	}
	w.WriteHeader(code)
	_, _ = w.Write(text)
}

// asProblem returns err as a problem. Any other error becomes a 500 without a text.
func asProblem(err error) *problem {
	if p, ok := err.(*problem); ok { //nolint:errorlint // permit returns it bare
		return p
	}
	return newProblem(http.StatusInternalServerError, "")
}
