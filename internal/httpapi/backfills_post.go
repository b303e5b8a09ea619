package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"os"
	"strings"
	"time"

	"cloudidq/internal/backfill"
	"cloudidq/internal/lines"
	"cloudidq/tasks"
)

// backfillAccepted is the response to a body that has been loaded completely.
type backfillAccepted struct {
	ID       string `json:"id"`
	Accepted int    `json:"accepted" doc:"lines, of this request and those before it together"`
	Rejected int    `json:"rejected" doc:"lines that are bad; /rejects says why"`
	URL      string `json:"url" doc:"where the counts are"`
}

// upload holds the parameters of a request that submits a backfill.
type upload struct {
	as     backfill.Backfill // the backfill to create, or to continue under the same Idempotency-Key
	resume string            // id of the backfill to continue; empty = none
}

const backfillsPath = "/v1/backfills/"

// post loads a body of any size into a backfill, at the rate that the queue accepts.
func (h *backfills) post(w http.ResponseWriter, r *http.Request) {
	u, err := h.mayUpload(r)
	if err != nil {
		answer(w, err)
		return
	}
	// The number of concurrent uploads is limited, because each one takes memory.
	place, ok := h.uploads.enter(r.Context())
	if !ok {
		write(w, newProblem(http.StatusServiceUnavailable, "too many backfills come in at once").retryAfter("5"))
		return
	}
	defer h.uploads.exit(place)
	at, err := h.open(r.Context(), u)
	if err != nil {
		answer(w, err)
		return
	}
	// Set the header for problems too, because the backfill exists from here on.
	w.Header().Set("Location", backfillsPath+at.Backfill.ID)
	// If all lines of the backfill were loaded before, this request enqueues nothing.
	replayed := at.Backfill.State == backfill.Complete
	of, err := h.take(w, r, at, place)
	// The server's write deadline started with the request. Start it again for the response.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(h.pace.write))
	// If another upload has taken the place, report this instead of the interrupted read.
	if _, broken := errors.AsType[*backfill.InputError](err); broken && place.turnedOut() {
		err = errTurnedOut
	}
	h.logUpload(r.Context(), of, err)
	if err != nil {
		write(w, uploadProblem(of, err, h.stopping.Err() != nil))
		return
	}
	text, err := json.Marshal(backfillAccepted{of.ID, of.Accepted, of.Rejected, backfillsPath + of.ID})
	if err != nil { // impossible: the struct has only strings and numbers
		refuse(w, http.StatusInternalServerError, "")
		return
	}
	if replayed {
		w.Header().Set("Idempotency-Replayed", "true")
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusAccepted)
	_, _ = w.Write(text)
}

// mayUpload validates everything of a request except its body.
func (h *backfills) mayUpload(r *http.Request) (upload, error) {
	// Reject unknown and repeated parameters, so that a typing error is noticed.
	query, faults := r.URL.Query(), []fault(nil)
	for name, values := range query {
		switch {
		case name != "appid" && name != "webhook" && name != "resume":
			faults = append(faults, fault{"query", "has a parameter that does not exist"})
		case len(values) > 1:
			faults = append(faults, fault{"query." + name, "stands there more than once"})
		}
	}
	u := upload{resume: query.Get("resume")}
	u.as = backfill.Backfill{AppID: query.Get("appid"), Webhook: query.Get("webhook"), Format: string(lines.NDJSON)}
	named, err := h.mayName(r.Context(), u.as.AppID, u.as.Webhook)
	if err != nil {
		return upload{}, err
	}
	faults = append(faults, named...)
	// The id of the backfill follows from the Idempotency-Key, so that a repetition finds it.
	key, err := idempotencyKeyOf(r.Header.Get("Idempotency-Key"))
	switch {
	case err != nil:
		return upload{}, err
	case key != "" && u.resume != "":
		faults = append(faults, fault{"query.resume", "does not go with an Idempotency-Key, which goes on by itself"})
	case key != "":
		u.as.ID = backfill.IDOf("key\x00" + caller(r.Context()).Name + "\x00" + key)
	default:
		u.as.ID = backfill.NewID()
	}
	if len(faults) > 0 {
		return upload{}, newProblem(http.StatusUnprocessableEntity, "nothing was enqueued", faults...)
	}
	if err := mediaProblem(r.Header); err != nil {
		return upload{}, err
	}
	// Reject the upload early if the queue is full already. If the queue fills up later, take
	// waits.
	if h.load.High(r.Context(), tasks.QueueBackfill) {
		return upload{}, newProblem(http.StatusServiceUnavailable, "the queue is full; nothing was enqueued").retryAfter("5")
	}
	return u, nil
}

// mayName validates the app and the endpoint of an upload: first their format, then whether the
// key and the configuration allow them.
func (h *backfills) mayName(ctx context.Context, appID, webhook string) (faults []fault, err error) {
	if appID == "" {
		faults = append(faults, fault{"query.appid", "is missing"})
	} else if problem := tasks.AppIDProblem(appID); problem != "" {
		faults = append(faults, fault{"query.appid", problem})
	}
	if problem := tasks.NameProblem(webhook); webhook != "" && problem != "" {
		faults = append(faults, fault{"query.webhook", problem})
	}
	if len(faults) > 0 {
		return faults, nil
	}
	if err := permit(ctx, ScopeResolve, appID); err != nil {
		return nil, err
	}
	return h.names.faults(ctx, "query", appID, webhook)
}

// mediaProblem rejects bodies that are known not to be NDJSON. It accepts a missing or unknown
// type, because most programs that send NDJSON set no type or a wrong one.
func mediaProblem(header http.Header) error {
	if encoding := header.Get("Content-Encoding"); encoding != "" && encoding != "identity" {
		return newProblem(http.StatusUnsupportedMediaType, "the body must not be compressed; nothing was enqueued")
	}
	kind, _, err := mime.ParseMediaType(header.Get("Content-Type"))
	if err == nil && (strings.HasPrefix(kind, "multipart/") || kind == "text/csv") {
		return newProblem(http.StatusUnsupportedMediaType, "the body must be NDJSON, application/x-ndjson; nothing was enqueued")
	}
	return nil
}

// open creates the backfill, or continues an existing one.
func (h *backfills) open(ctx context.Context, u upload) (backfill.Loading, error) {
	// Continue a backfill by its id. The parameters must match.
	if u.resume != "" {
		was, err := h.find(ctx, u.resume, ScopeResolve)
		if err != nil {
			return backfill.Loading{}, err
		}
		switch {
		case was.AppID != u.as.AppID:
			return backfill.Loading{}, backfillProblem(backfill.ErrNotFound)
		case was.State == backfill.Canceled:
			return backfill.Loading{}, backfillProblem(backfill.ErrCanceled)
		case was.Format != u.as.Format:
			return backfill.Loading{}, newProblem(http.StatusUnprocessableEntity, "nothing was enqueued",
				fault{"query.resume", "is a backfill of another format; the command line goes on with it"})
		case u.as.Webhook != "" && was.Webhook != u.as.Webhook:
			return backfill.Loading{}, newProblem(http.StatusUnprocessableEntity, "nothing was enqueued",
				fault{"query.webhook", "is not that of the backfill"})
		}
		// Another key may have created the backfill, and the caller's key may not be allowed to
		// name its endpoint.
		if err := h.names.webhook(ctx, was.AppID, was.Webhook); err != nil {
			return backfill.Loading{}, newProblem(http.StatusForbidden, "nothing was enqueued",
				fault{"query.resume", "is a backfill whose webhook " + err.Error()})
		}
		at, err := h.store.Resume(ctx, u.resume)
		if err != nil {
			return backfill.Loading{}, backfillProblem(err)
		}
		return at, nil
	}
	// Create the backfill. If the Idempotency-Key was used before, this returns the existing one.
	at, err := h.store.Create(ctx, u.as)
	switch is := &at.Backfill; {
	case err != nil:
		return backfill.Loading{}, backfillProblem(err)
	case is.AppID != u.as.AppID || is.Webhook != u.as.Webhook || is.Format != u.as.Format:
		return backfill.Loading{}, newProblem(http.StatusUnprocessableEntity, "nothing was enqueued",
			fault{"header.Idempotency-Key", "has come with another request before"})
	case is.State == backfill.Canceled:
		return backfill.Loading{}, backfillProblem(backfill.ErrCanceled)
	}
	return at, nil
}

// errTurnedOut ends a body that arrives too slowly while another upload waits for its place.
var errTurnedOut = errors.New("the body comes too slowly, and another has its place")

// uploadProblem returns the problem for a body that was not loaded completely. Its detail says
// how many lines were loaded and how to continue.
func uploadProblem(of backfill.Backfill, err error, stopping bool) *problem {
	// Most problems tell the client how to continue.
	goOn := fmt.Sprintf("; lines that are in: %d; send the body again, from its start, under the same Idempotency-Key or with resume=%s", of.Lines, of.ID)
	changed, isChanged := errors.AsType[*backfill.ChangedError](err)
	_, isInput := errors.AsType[*backfill.InputError](err)
	invalid, isInvalid := errors.AsType[*tasks.InvalidError](err)
	switch {
	// The first problems concern a body that cannot be continued.
	case isChanged:
		return newProblem(http.StatusUnprocessableEntity, changed.Error()+"; nothing more was enqueued")
	case isInvalid:
		return newProblem(http.StatusUnprocessableEntity, invalid.Error())
	case errors.Is(err, backfill.ErrComplete):
		return newProblem(http.StatusUnprocessableEntity, fmt.Sprintf(
			"the backfill is complete with %d lines, and the body has more; nothing more was enqueued", of.Lines))
	case stopping:
		return newProblem(http.StatusServiceUnavailable, "the server stops"+goOn).retryAfter("1")
	case errors.Is(err, errTurnedOut):
		return newProblem(http.StatusRequestTimeout, errTurnedOut.Error()+goOn)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return newProblem(http.StatusRequestTimeout, "nothing more of the body has come"+goOn)
	case isInput, errors.Is(err, context.Canceled):
		// The client may have disconnected. Respond anyway, in case it still reads.
		return newProblem(http.StatusBadRequest, "the body has broken off"+goOn)
	case errors.Is(err, backfill.ErrFull):
		return newProblem(http.StatusServiceUnavailable, "the queue is full"+goOn).retryAfter("5")
	case errors.Is(err, backfill.ErrPaused):
		return newProblem(http.StatusServiceUnavailable, "the app is paused"+goOn).retryAfter("15")
	}
	p := backfillProblem(err)
	if p.Status == http.StatusServiceUnavailable {
		p.Detail += goOn
	}
	return p
}

// logUpload logs the outcome of an upload.
func (h *backfills) logUpload(ctx context.Context, of backfill.Backfill, err error) {
	attrs := []any{
		"backfill", of.ID, "appid", of.AppID, "state", string(of.State), "lines", of.Lines, "accepted", of.Accepted, "rejected", of.Rejected,
		"key", caller(ctx).Name,
	}
	if err == nil {
		h.log.Info("a backfill is in", attrs...)
		return
	}
	h.log.Info("a backfill has broken off", append(attrs, "error", uploadProblem(of, err, h.stopping.Err() != nil).Detail)...)
}
