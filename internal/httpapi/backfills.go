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
	pace     *pace
}

// pace holds the timeouts and intervals of the server. Tests shorten them.
type pace struct {
	header time.Duration // to read the header of a request
	idle   time.Duration // until the next request on a connection
	answer time.Duration // until a response is written, from the request's header on

	moment time.Duration // for a stranger to send a header, once another connection needs its place
	linger time.Duration // for a client that is rejected in the middle of its body

	read  time.Duration // to read a whole request, or the next bytes of a backfill
	write time.Duration // to write the next bytes of a stream
	room  time.Duration // to wait for a full queue, in the middle of a body
	look  time.Duration // between two reads of a backfill's counts
	beat  time.Duration // between two keep-alive comments, if there are no events

	slow  time.Duration // for a body to send its next piece, once another upload needs its place
	place time.Duration // to wait for a place, if all are taken
}

var usualPace = pace{
	header: headerTimeout, idle: idleTimeout, answer: maxWait + time.Minute,
	read: readTimeout, write: 30 * time.Second, room: time.Minute, look: 500 * time.Millisecond, beat: 15 * time.Second,
	slow: 2 * time.Second, place: 5 * time.Second, moment: 500 * time.Millisecond, linger: time.Second,
}

// newBackfills returns the routes. stopping is canceled when the server stops.
func newBackfills(stopping context.Context, parts Parts, names naming) *backfills {
	usual := usualPace
	return &backfills{
		store: parts.Backfills, results: parts.Results, load: parts.Load, names: names, log: parts.Log,
		loader:  &backfill.Loader{Store: parts.Backfills, Producer: counted{parts.Producer, parts.Metrics}, Pressure: parts.Load},
		uploads: newUploads(&usual), stopping: stopping, pace: &usual,
	}
}

// register adds the routes: those that huma serves to api, the others to mux.
func (h *backfills) register(mux *http.ServeMux, api huma.API) {
	huma.Register(api, operation("getBackfill", http.MethodGet, "/v1/backfills/{id}",
		"How far a backfill is", ScopeRead, http.StatusOK, 404, 503), h.get)
	cancel := operation("cancelBackfill", http.MethodDelete, "/v1/backfills/{id}",
		"Cancel what is pending of a backfill", ScopeResolve, http.StatusOK, 404, 503)
	cancel.Description = "Needs scope resolve or admin. Nothing more is taken or asked for; what is pending ends failed. One that has finished stays as it is."
	huma.Register(api, cancel, h.cancel)
	mux.HandleFunc("POST /v1/backfills", h.post)
	mux.HandleFunc("GET /v1/backfills/{id}/events", h.events)
	mux.HandleFunc("GET /v1/backfills/{id}/results", h.getResults)
	mux.HandleFunc("GET /v1/backfills/{id}/rejects", h.rejects)
}

type backfillInput struct {
	ID string `path:"id"`
}

type backfillOutput struct{ Body backfill.Backfill }

// get responds with the counts of one backfill.
func (h *backfills) get(ctx context.Context, in *backfillInput) (*backfillOutput, error) {
	of, err := h.find(ctx, in.ID, ScopeRead)
	if err != nil {
		return nil, err
	}
	return &backfillOutput{of}, nil
}

// cancel serves callers with scope resolve or admin.
func (h *backfills) cancel(ctx context.Context, in *backfillInput) (*backfillOutput, error) {
	scope := ScopeResolve
	if !caller(ctx).has(scope) && caller(ctx).has(ScopeAdmin) {
		scope = ScopeAdmin
	}
	of, err := h.find(ctx, in.ID, scope)
	if err != nil {
		return nil, err
	}
	if of, err = h.store.Cancel(ctx, in.ID); err != nil {
		return nil, backfillProblem(err)
	}
	h.log.Info("a backfill was canceled", "backfill", of.ID, "appid", of.AppID, "pending", of.Pending, "key", caller(ctx).Name)
	return &backfillOutput{of}, nil
}

// find returns a backfill whose app the caller may use. It returns the same 404 for a backfill
// of another app as for an unknown id, so that a caller cannot probe for ids.
func (h *backfills) find(ctx context.Context, id string, scope Scope) (backfill.Backfill, error) {
	if !caller(ctx).has(scope) {
		return backfill.Backfill{}, permit(ctx, scope, "")
	}
	of, err := h.store.Get(ctx, id)
	if err == nil && !caller(ctx).reaches(scope, of.AppID) {
		err = backfill.ErrNotFound
	}
	if err != nil {
		return backfill.Backfill{}, backfillProblem(err)
	}
	return of, nil
}

// backfillProblem returns the problem for an error of the store.
func backfillProblem(err error) *problem {
	switch {
	case errors.Is(err, backfill.ErrNotFound):
		return newProblem(http.StatusNotFound, "there is no such backfill, or its time is over")
	case errors.Is(err, backfill.ErrTaken), errors.Is(err, backfill.ErrDiffers), errors.Is(err, backfill.ErrCanceled):
		return newProblem(http.StatusConflict, plain(err))
	default:
		return storeAway()
	}
}

// plain returns the text of the store's own error, without the text wrapped around it.
func plain(err error) string {
	for _, known := range []error{backfill.ErrTaken, backfill.ErrDiffers, backfill.ErrCanceled} {
		if errors.Is(err, known) {
			return known.Error()
		}
	}
	return ""
}

// answer writes err as a problem. An error that is not a problem becomes a 500 without a text.
func answer(w http.ResponseWriter, err error) {
	p, ok := errors.AsType[*problem](err)
	if !ok {
		p = newProblem(http.StatusInternalServerError, "")
	}
	write(w, p)
}
