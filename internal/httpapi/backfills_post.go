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
	Accepted int    `json:"accepted" doc:"accepted lines of this request and of earlier ones for the backfill"`
	Rejected int    `json:"rejected" doc:"invalid lines; GET /rejects returns the reasons"`
	URL      string `json:"url" doc:"URL of the backfill"`
}

// upload holds the parameters of a request that submits a backfill.
type upload struct {
	as     backfill.Backfill // the backfill to create, or to continue under the same Idempotency-Key
	resume string            // id of the backfill to continue; empty = none
}

const backfillsPath = "/v1/backfills/"

// post loads a body of any size into a backfill, at the rate that the queue accepts.
func (h *backfills) post(w http.ResponseWriter, r *http.Request) {
	u, err := h.parseUpload(r)
	if err != nil {
		writeError(w, err)
		return
	}
	// The number of concurrent uploads is limited, because each one takes memory.
	slot, ok := h.uploads.acquire(r.Context())
	if !ok {
		writeProblem(w, newProblem(http.StatusServiceUnavailable,
			"too many backfills are being uploaded; retry later").retryAfter("5"))
		return
	}
	defer h.uploads.release(slot)
	at, err := h.open(r.Context(), u)
	if err != nil {
		writeError(w, err)
		return
	}
	// Set the header for problems too, because the backfill exists from here on.
	w.Header().Set("Location", backfillsPath+at.Backfill.ID)
	// If all lines of the backfill were loaded before, this request enqueues nothing.
	replayed := at.Backfill.State == backfill.Complete
	bf, err := h.loadBody(w, r, at, slot)
	// The server's write deadline started with the request. Start it again for the response.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(h.timing.write))
	// If another upload has taken the slot, report this instead of the interrupted read.
	if _, broken := errors.AsType[*backfill.InputError](err); broken && slot.wasEvicted() {
		err = errEvicted
	}
	h.logUpload(r.Context(), bf, err)
	if err != nil {
		writeProblem(w, uploadProblem(bf, err, h.stopping.Err() != nil))
		return
	}
	text, err := json.Marshal(backfillAccepted{bf.ID, bf.Accepted, bf.Rejected, backfillsPath + bf.ID})
	if err != nil { // impossible: the struct has only strings and numbers
		httpError(w, http.StatusInternalServerError, "")
		return
	}
	if replayed {
		w.Header().Set("Idempotency-Replayed", "true")
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusAccepted)
	_, _ = w.Write(text)
}

// parseUpload validates everything of a request except its body.
func (h *backfills) parseUpload(r *http.Request) (upload, error) {
	// Reject unknown and repeated parameters, so that a typing error is noticed.
	query, faults := r.URL.Query(), []fault(nil)
	for name, values := range query {
		switch {
		case name != "appid" && name != "webhook" && name != "resume":
			faults = append(faults, fault{"query", "has an unknown parameter"})
		case len(values) > 1:
			faults = append(faults, fault{"query." + name, "is repeated"})
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
		faults = append(faults, fault{"query.resume",
			"must be empty if the request has an Idempotency-Key, which continues the backfill by itself"})
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
	// Reject the upload early if the queue is full already. If the queue fills up later,
	// loadBody waits.
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
				fault{"query.resume", "is a backfill of another format; continue it with the command line"})
		case u.as.Webhook != "" && was.Webhook != u.as.Webhook:
			return backfill.Loading{}, newProblem(http.StatusUnprocessableEntity, "nothing was enqueued",
				fault{"query.webhook", "differs from the webhook of the backfill"})
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
			fault{"header.Idempotency-Key", "was used for a different request before"})
	case is.State == backfill.Canceled:
		return backfill.Loading{}, backfillProblem(backfill.ErrCanceled)
	}
	return at, nil
}

// errEvicted stops a body that arrives too slowly while another upload waits for a slot.
var errEvicted = errors.New("the body arrives too slowly, and another upload needs its slot")

// uploadProblem returns the problem for a body that was not loaded completely. Its detail says
// how many lines were loaded and how to continue.
func uploadProblem(bf backfill.Backfill, err error, stopping bool) *problem {
	// Most problems say how to continue.
	hint := fmt.Sprintf("; %d lines were enqueued; to continue, send the body again from its start "+
		"with the same Idempotency-Key or with resume=%s", bf.Lines, bf.ID)
	changed, isChanged := errors.AsType[*backfill.ChangedError](err)
	_, isInput := errors.AsType[*backfill.InputError](err)
	invalid, isInvalid := errors.AsType[*tasks.InvalidError](err)
	switch {
	// The first problems concern a body that cannot be continued.
	case isChanged:
		return newProblem(http.StatusUnprocessableEntity, changed.Error()+"; no more lines were enqueued")
	case isInvalid:
		return newProblem(http.StatusUnprocessableEntity, invalid.Error())
	case errors.Is(err, backfill.ErrComplete):
		return newProblem(http.StatusUnprocessableEntity, fmt.Sprintf(
			"the backfill is complete with %d lines, but the body has more; no more lines were enqueued",
			bf.Lines))
	case stopping:
		return newProblem(http.StatusServiceUnavailable, "the server is stopping"+hint).retryAfter("1")
	case errors.Is(err, errEvicted):
		return newProblem(http.StatusRequestTimeout, errEvicted.Error()+hint)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return newProblem(http.StatusRequestTimeout, "timeout reading the body"+hint)
	case isInput, errors.Is(err, context.Canceled):
		// The client may have disconnected. Respond anyway, in case it still reads.
		return newProblem(http.StatusBadRequest, "the body is incomplete"+hint)
	case errors.Is(err, backfill.ErrFull):
		return newProblem(http.StatusServiceUnavailable, "the queue is full"+hint).retryAfter("5")
	case errors.Is(err, backfill.ErrPaused):
		return newProblem(http.StatusServiceUnavailable, "the app is paused"+hint).retryAfter("15")
	}
	p := backfillProblem(err)
	if p.Status == http.StatusServiceUnavailable {
		p.Detail += hint
	}
	return p
}

// logUpload logs the outcome of an upload.
func (h *backfills) logUpload(ctx context.Context, bf backfill.Backfill, err error) {
	attrs := []any{
		"backfill", bf.ID, "appid", bf.AppID, "state", string(bf.State), "lines", bf.Lines,
		"accepted", bf.Accepted, "rejected", bf.Rejected,
		"key", caller(ctx).Name,
	}
	if err == nil {
		h.log.Info("backfill loaded", attrs...)
		return
	}
	h.log.Info("backfill interrupted",
		append(attrs, "error", uploadProblem(bf, err, h.stopping.Err() != nil).Detail)...)
}
