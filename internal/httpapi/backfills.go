package httpapi

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"cloudidq/internal/backfill"
	"cloudidq/store"
)

// backfills serves the routes of backfills, which are cloudIDs submitted as a file. The routes
// with small bodies use huma. The others are plain handlers, because huma would hold their
// bodies in memory as a whole.
type backfills struct {
	store   *backfill.Store
	results store.Results
	loader  *backfill.Loader
	load    Load
	names   naming
	log     *slog.Logger

	uploads  *uploads        // the uploads in progress
	stopping context.Context // canceled when the server stops
	timing   *timing
}

// timing holds the timeouts and intervals of the server. Tests shorten them.
type timing struct {
	header   time.Duration // to read the header of a request
	idle     time.Duration // until the next request on a connection
	response time.Duration // until a response is written, from the request's header on

	headerGrace time.Duration // for an anonymous connection to send a header, once another one needs its slot
	linger      time.Duration // for a client that is rejected in the middle of its body

	read      time.Duration // to read a whole request, or the next bytes of a backfill
	write     time.Duration // to write the next bytes of a stream
	queueWait time.Duration // to wait for a full queue, in the middle of a body
	poll      time.Duration // between two reads of a backfill's counts
	keepAlive time.Duration // between two keep-alive comments, if there are no events

	slowBody time.Duration // for a body to send its next piece, once another upload needs its slot
	slotWait time.Duration // to wait for a slot, if all are taken
}

var defaultTiming = timing{
	header: headerTimeout, idle: idleTimeout, response: maxWait + time.Minute,
	headerGrace: 500 * time.Millisecond, linger: time.Second,
	read: readTimeout, write: 30 * time.Second, queueWait: time.Minute,
	poll: 500 * time.Millisecond, keepAlive: 15 * time.Second,
	slowBody: 2 * time.Second, slotWait: 5 * time.Second,
}

// newBackfills returns the routes. stopping is canceled when the server stops.
func newBackfills(stopping context.Context, parts Parts, names naming) *backfills {
	defaults := defaultTiming
	return &backfills{
		store: parts.Backfills, results: parts.Results, load: parts.Load, names: names, log: parts.Log,
		loader: &backfill.Loader{
			Store: parts.Backfills, Producer: countingProducer{parts.Producer, parts.Metrics}, Pressure: parts.Load,
		},
		uploads: newUploads(&defaults), stopping: stopping, timing: &defaults,
	}
}

// register adds the routes: those that huma serves to api, the others to mux.
func (h *backfills) register(mux *http.ServeMux, api huma.API) {
	huma.Register(api, operation("getBackfill", http.MethodGet, "/v1/backfills/{id}",
		"Get the progress of a backfill", ScopeRead, http.StatusOK, 404, 503), h.get)
	cancel := operation("cancelBackfill", http.MethodDelete, "/v1/backfills/{id}",
		"Cancel the pending part of a backfill", ScopeResolve, http.StatusOK, 404, 503)
	cancel.Description = "Requires scope resolve or admin. The backfill accepts no more lines and " +
		"its pending cloudIDs are not sent to WeChat; they fail. A finished backfill does not change."
	huma.Register(api, cancel, h.cancel)
	mux.HandleFunc("POST /v1/backfills", h.post)
	mux.HandleFunc("GET /v1/backfills/{id}/events", h.followEvents)
	mux.HandleFunc("GET /v1/backfills/{id}/results", h.getResults)
	mux.HandleFunc("GET /v1/backfills/{id}/rejects", h.rejects)
}

type backfillInput struct {
	ID string `path:"id"`
}

type backfillOutput struct{ Body backfill.Backfill }

// get responds with the counts of one backfill.
func (h *backfills) get(ctx context.Context, in *backfillInput) (*backfillOutput, error) {
	bf, err := h.find(ctx, in.ID, ScopeRead)
	if err != nil {
		return nil, err
	}
	return &backfillOutput{bf}, nil
}

// cancel serves callers with scope resolve or admin.
func (h *backfills) cancel(ctx context.Context, in *backfillInput) (*backfillOutput, error) {
	scope := ScopeResolve
	if !caller(ctx).hasScope(scope) && caller(ctx).hasScope(ScopeAdmin) {
		scope = ScopeAdmin
	}
	bf, err := h.find(ctx, in.ID, scope)
	if err != nil {
		return nil, err
	}
	if bf, err = h.store.Cancel(ctx, in.ID); err != nil {
		return nil, backfillProblem(err)
	}
	h.log.Info("backfill canceled", "backfill", bf.ID, "appid", bf.AppID, "pending", bf.Pending,
		"key", caller(ctx).Name)
	return &backfillOutput{bf}, nil
}

// find returns a backfill whose app the caller may use. It returns the same 404 for a backfill
// of another app as for an unknown id, so that a caller cannot probe for ids.
func (h *backfills) find(ctx context.Context, id string, scope Scope) (backfill.Backfill, error) {
	if !caller(ctx).hasScope(scope) {
		return backfill.Backfill{}, permit(ctx, scope, "")
	}
	bf, err := h.store.Get(ctx, id)
	if err == nil && !caller(ctx).allows(scope, bf.AppID) {
		err = backfill.ErrNotFound
	}
	if err != nil {
		return backfill.Backfill{}, backfillProblem(err)
	}
	return bf, nil
}

// backfillProblem returns the problem for an error of the store.
func backfillProblem(err error) *problem {
	switch {
	case errors.Is(err, backfill.ErrNotFound):
		return newProblem(http.StatusNotFound, "no such backfill, or it has expired")
	case errors.Is(err, backfill.ErrSuperseded), errors.Is(err, backfill.ErrDiffers),
		errors.Is(err, backfill.ErrCanceled):
		return newProblem(http.StatusConflict, plain(err))
	default:
		return storeUnavailable()
	}
}

// plain returns the text of the store's own error, without the text wrapped around it.
func plain(err error) string {
	for _, known := range []error{backfill.ErrSuperseded, backfill.ErrDiffers, backfill.ErrCanceled} {
		if errors.Is(err, known) {
			return known.Error()
		}
	}
	return ""
}

// writeError writes err as a problem. An error that is not a problem becomes a 500 without a text.
func writeError(w http.ResponseWriter, err error) {
	p, ok := errors.AsType[*problem](err)
	if !ok {
		p = newProblem(http.StatusInternalServerError, "")
	}
	writeProblem(w, p)
}
