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

// backfills are the routes of backfills: what is handed in as a file. huma has the small ones; it would hold the others in
// memory as a whole, so these are plain handlers.
type backfills struct {
	store   *store.Backfills
	results store.Results
	loader  *backfill.Loader
	load    Load
	names   naming
	log     *slog.Logger

	uploads  *uploads        // those under way
	stopping context.Context // ends when the server is to stop
	pace     *pace
}

// pace is how long the server waits for what.
type pace struct {
	header time.Duration // for the head of a request
	idle   time.Duration // for the next request on a connection
	answer time.Duration // for a client to take an answer, from the head of its request on, with what it waits for records

	moment time.Duration // for a stranger to send a head, once others want its place
	linger time.Duration // for a client that is refused in the middle of its body to take the answer

	read  time.Duration // for a whole request, and for the next bytes of a backfill
	write time.Duration // for a client to take what it is sent
	room  time.Duration // for a full queue, in the middle of a body
	look  time.Duration // between two looks at a backfill
	beat  time.Duration // between two signs of life where nothing happens

	slow  time.Duration // for a body to bring its next piece, once another wants its place
	place time.Duration // for a place, where all are taken
}

var usualPace = pace{
	header: headerTimeout, idle: idleTimeout, answer: maxWait + time.Minute,
	read: readTimeout, write: 30 * time.Second, room: time.Minute, look: 500 * time.Millisecond, beat: 15 * time.Second,
	slow: 2 * time.Second, place: 5 * time.Second, moment: 500 * time.Millisecond, linger: time.Second,
}

func newBackfills(stopping context.Context, parts Parts, names naming) *backfills {
	usual := usualPace
	return &backfills{
		store: parts.Backfills, results: parts.Results, load: parts.Load, names: names, log: parts.Log,
		loader:  &backfill.Loader{Store: parts.Backfills, Producer: counted{parts.Producer, parts.Metrics}, Pressure: parts.Load},
		uploads: newUploads(&usual), stopping: stopping, pace: &usual,
	}
}

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

type backfillOutput struct{ Body store.Backfill }

func (h *backfills) get(ctx context.Context, in *backfillInput) (*backfillOutput, error) {
	of, err := h.find(ctx, in.ID, ScopeRead)
	if err != nil {
		return nil, err
	}
	return &backfillOutput{of}, nil
}

// cancel is for whoever may hand in, and for administrators.
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

// find returns a backfill of an app that the caller reaches. One of another app is not to be told from none.
func (h *backfills) find(ctx context.Context, id string, scope Scope) (store.Backfill, error) {
	if !caller(ctx).has(scope) {
		return store.Backfill{}, permit(ctx, scope, "")
	}
	of, err := h.store.Get(ctx, id)
	if err == nil && !caller(ctx).reaches(scope, of.AppID) {
		err = store.ErrNoBackfill
	}
	if err != nil {
		return store.Backfill{}, backfillProblem(err)
	}
	return of, nil
}

// backfillProblem is the answer to what the store refuses, or cannot say.
func backfillProblem(err error) *problem {
	switch {
	case errors.Is(err, store.ErrNoBackfill):
		return newProblem(http.StatusNotFound, "there is no such backfill, or its time is over")
	case errors.Is(err, store.ErrBackfillTaken), errors.Is(err, store.ErrBackfillDiffers), errors.Is(err, store.ErrBackfillCanceled):
		return newProblem(http.StatusConflict, plain(err))
	default:
		return storeAway()
	}
}

// plain is the text of the store's own error, without what is wrapped around it.
func plain(err error) string {
	for _, known := range []error{store.ErrBackfillTaken, store.ErrBackfillDiffers, store.ErrBackfillCanceled} {
		if errors.Is(err, known) {
			return known.Error()
		}
	}
	return ""
}

// answer writes the problem that an error is.
func answer(w http.ResponseWriter, err error) {
	p, ok := errors.AsType[*problem](err)
	if !ok {
		p = newProblem(http.StatusInternalServerError, "")
	}
	write(w, p)
}
