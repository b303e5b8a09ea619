package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"

	"cloudidq/internal/deliver"
	"cloudidq/store"
	"cloudidq/tasks"
)

// producer is the part of [tasks.Client] that the API uses.
type producer interface {
	Resolve(ctx context.Context, req tasks.Request) (tasks.Receipt, error)
	WriteChunk(ctx context.Context, chunk tasks.Chunk) error
	Now(ctx context.Context) (time.Time, error)
}

// resolutions serves the routes of cloudIDs and their records.
type resolutions struct {
	producer    producer
	results     store.Results
	names       naming
	load        Load
	idempotency *idempotency // nil = ignore the Idempotency-Key
	accepted    func(queue string, cloudIDs int)
}

// Load reports whether a queue has more tasks than its workers can handle.
type Load interface {
	// High reports whether a queue is past its high-water mark.
	High(ctx context.Context, queue string) bool
	// Room returns nil if the backfill of an app may enqueue more lines now. Otherwise it
	// returns [backfill.ErrFull] or [backfill.ErrPaused].
	Room(ctx context.Context, appID string) error
}

// maxWait is the longest time that a client may wait for records.
const maxWait = 30 * time.Second

// resolveInput is the request of [resolutions.resolve].
type resolveInput struct {
	Prefer         string `header:"Prefer" doc:"wait=N: respond with the records once all have a final status, or after N seconds (at most 30)" example:"wait=10"`
	IdempotencyKey string `header:"Idempotency-Key" doc:"a request that is repeated with the same key within 24 hours takes effect once; 1 to 256 printable ASCII characters"`
	RawBody        []byte
	Body           struct {
		AppID      string    `json:"appid" pattern:"^[A-Za-z0-9_-]{1,64}$" patternDescription:"1 to 64 letters, digits, - or _" doc:"the mini program that the cloudIDs come from"`
		OpenID     string    `json:"openid,omitempty" maxLength:"128" doc:"the user that the cloudIDs belong to; WeChat requires it for sensitive data"`
		CloudIDs   []string  `json:"cloud_ids" minItems:"1" maxItems:"100" nullable:"false" doc:"at most 512 bytes each"`
		ObtainedAt time.Time `json:"obtained_at,omitzero" doc:"when the front end obtained them; their lifetime of five minutes starts then. The default is now"`
		Queue      string    `json:"queue,omitempty" enum:"events,backfill" doc:"events by default; backfill for cloudIDs that nobody waits for"`
		Webhook    string    `json:"webhook,omitempty" pattern:"^[A-Za-z0-9_-]{0,64}$" patternDescription:"1 to 64 letters, digits, - or _" doc:"the webhook that gets the results instead of the app's own; it must accept results of this app, and for a key limited to some apps it must list the app (webhooks[].appids)"`
		Reference  string    `json:"reference,omitempty" maxLength:"256" doc:"your own key; it is returned in the records"`
	}
}

// resolution is a submitted cloudID in a response: its status, the URL of its record, and the
// fields of the record once it is final.
type resolution struct {
	CloudID    string          `json:"cloud_id"`
	Status     store.Status    `json:"status" enum:"pending,resolved,failed,expired"`
	URL        string          `json:"url" doc:"URL of the record"`
	AppID      string          `json:"appid,omitempty"`
	OpenID     string          `json:"openid,omitempty"`
	Kind       string          `json:"kind,omitempty"`
	Data       json.RawMessage `json:"data,omitempty"`
	Error      *store.Error    `json:"error,omitempty"`
	Attempts   int             `json:"attempts,omitempty"`
	Reference  string          `json:"reference,omitempty"`
	AcceptedAt store.Time      `json:"accepted_at,omitzero"`
	FinishedAt store.Time      `json:"finished_at,omitzero"`
}

// resolutionOf returns the resolution of a cloudID. It leaves the record's fields out while the
// record is pending.
func resolutionOf(appID, cloudID string, rec store.Record) resolution {
	url := deliver.RecordPath(appID, cloudID)
	if !rec.Status.Final() {
		return resolution{CloudID: cloudID, Status: store.Pending, URL: url}
	}
	return resolution{
		CloudID: cloudID, Status: rec.Status, URL: url, AppID: appID, OpenID: rec.OpenID, Kind: rec.Kind, Data: rec.Data,
		Error: rec.Error, Attempts: rec.Attempts, Reference: rec.Reference, AcceptedAt: rec.AcceptedAt, FinishedAt: rec.FinishedAt,
	}
}

// resolveOutput is the response of [resolutions.resolve]: 200 if all records are final, else 202.
type resolveOutput struct {
	Status   int
	Replayed string `header:"Idempotency-Replayed" doc:"true if the request has taken effect before"`
	Body     struct {
		Resolutions []resolution `json:"resolutions" nullable:"false"`
	}
}

// register adds the routes to api.
func (h *resolutions) register(api huma.API) {
	huma.Register(api, operation("resolve", http.MethodPost, "/v1/resolutions",
		"Submit cloudIDs of one user", ScopeResolve, http.StatusAccepted, 400, 408, 409, 413, 422, 503),
		h.resolve)
	huma.Register(api, operation("get", http.MethodGet, "/v1/resolutions/{appid}/{cloud_id}",
		"Get the record of a cloudID", ScopeRead, http.StatusOK, 404, 422, 503), h.get)
	huma.Register(api, operation("lookup", http.MethodPost, "/v1/resolutions/lookup",
		"Look up the records of cloudIDs", ScopeRead, http.StatusOK, 400, 408, 413, 422, 503), h.lookup)
}

// resolve enqueues cloudIDs. It responds only after Redis has stored the task.
func (h *resolutions) resolve(ctx context.Context, in *resolveInput) (*resolveOutput, error) {
	wait, err := waitOf(in.Prefer)
	if err != nil {
		return nil, err
	}
	if err := h.mayResolve(ctx, in, wait > 0); err != nil {
		return nil, err
	}
	// Build the task and enqueue it, once per Idempotency-Key.
	req := tasks.Request{AppID: in.Body.AppID, Queue: in.Body.Queue, Webhook: in.Body.Webhook}
	for _, id := range in.Body.CloudIDs {
		req.Items = append(req.Items, tasks.Item{
			CloudID: id, OpenID: in.Body.OpenID, ObtainedAt: in.Body.ObtainedAt, Reference: in.Body.Reference,
		})
	}
	ids := unique(in.Body.CloudIDs)
	result, replayed, err := h.idempotency.do(ctx, in.IdempotencyKey, in.RawBody,
		func(ctx context.Context) (outcome, error) {
			return h.enqueue(ctx, req, ids, wait > 0 || in.IdempotencyKey != "")
		})
	if err != nil {
		return nil, enqueueProblem(ctx, err)
	}
	// Wait for the records if the client requests it.
	out := &resolveOutput{Status: http.StatusAccepted}
	if replayed {
		out.Replayed = "true"
	}
	records := make([]store.Record, len(ids))
	if wait > 0 {
		var all bool
		if records, all = h.await(ctx, in.Body.AppID, ids, result.before, wait); all {
			out.Status = http.StatusOK
		}
	}
	for i, id := range ids {
		out.Body.Resolutions = append(out.Body.Resolutions, resolutionOf(in.Body.AppID, id, records[i]))
	}
	return out, nil
}

// enqueue enqueues the cloudIDs. If a client may wait for them, enqueue first reads their
// earlier results. An error of the store is ignored here, because it must not block the request.
func (h *resolutions) enqueue(
	ctx context.Context, req tasks.Request, ids []string, waits bool,
) (outcome, error) {
	var before store.EarlierFinals
	if waits {
		before, _ = store.FinalsSoFar(ctx, h.results, req.AppID, ids)
	}
	receipt, err := h.producer.Resolve(ctx, req)
	if err == nil {
		h.accepted(req.Queue, receipt.Enqueued)
	}
	return outcome{receipt.AcceptedAt, before}, err
}

// mayResolve checks what huma's validation cannot: permissions, names, encoding, and the load.
func (h *resolutions) mayResolve(ctx context.Context, in *resolveInput, waits bool) error {
	if err := permit(ctx, ScopeResolve, in.Body.AppID); err != nil {
		return err
	}
	if waits {
		if err := permit(ctx, ScopeRead, in.Body.AppID); err != nil {
			return err
		}
	}
	faults, err := h.names.faults(ctx, "body", in.Body.AppID, in.Body.Webhook)
	if err != nil {
		return err
	}
	if len(faults) > 0 {
		return newProblem(http.StatusUnprocessableEntity, "nothing was enqueued", faults...)
	}
	if !utf8.Valid(in.RawBody) {
		return notUTF8()
	}
	if faults := lostCharacters(in); len(faults) > 0 {
		return newProblem(http.StatusUnprocessableEntity, "nothing was enqueued", faults...)
	}
	queue := in.Body.Queue
	if queue == "" {
		queue = tasks.QueueEvents
	}
	if h.load.High(ctx, queue) {
		return newProblem(http.StatusServiceUnavailable, "the queue is full; nothing was enqueued").retryAfter("5")
	}
	return nil
}

// lostCharacters returns a fault for each field that contains U+FFFD. JSON decoding also
// produces U+FFFD from half a surrogate pair. The original character is lost, so WeChat and the
// receiver would get a different text than the client meant.
func lostCharacters(in *resolveInput) (faults []fault) {
	// look checks one field.
	look := func(location, text string) {
		if strings.ContainsRune(text, utf8.RuneError) {
			faults = append(faults,
				fault{location, "must not contain U+FFFD, which replaces a character that could not be decoded"})
		}
	}
	for i, id := range in.Body.CloudIDs {
		look(fmt.Sprintf("body.cloud_ids[%d]", i), id)
	}
	look("body.openid", in.Body.OpenID)
	look("body.reference", in.Body.Reference)
	return faults
}

// await returns the records and true once all are final. If the wait ends first, it returns the
// records that are final by then and false. An error of the store ends the wait too: the
// cloudIDs are already enqueued.
func (h *resolutions) await(
	ctx context.Context, appID string, ids []string, before store.EarlierFinals, wait time.Duration,
) (records []store.Record, all bool) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	records, err := store.Wait(ctx, h.results, appID, ids, before)
	return records, err == nil
}

var waitPreference = regexp.MustCompile(`(?i)(?:^|[,;\s])wait\s*=\s*"?(\d{1,6})"?\s*(?:$|[,;])`)

// waitOf parses Prefer: wait=N (RFC 7240, section 4.3). It ignores other preferences, as the RFC
// requires.
func waitOf(prefer string) (time.Duration, error) {
	found := waitPreference.FindStringSubmatch(prefer)
	if found == nil {
		return 0, nil
	}
	n, err := strconv.Atoi(found[1])
	if err != nil || time.Duration(n)*time.Second > maxWait {
		return 0, newProblem(http.StatusBadRequest, "nothing was enqueued",
			fault{"header.Prefer", "wait must be at most 30 seconds"})
	}
	return time.Duration(n) * time.Second, nil
}

// enqueueProblem returns the problem for a request that was not enqueued.
func enqueueProblem(ctx context.Context, err error) error {
	// Report invalid items with the names of the request's fields.
	if invalid, ok := errors.AsType[*tasks.InvalidError](err); ok {
		faults := make([]fault, 0, len(invalid.Faults))
		for _, f := range invalid.Faults {
			faults = append(faults, fault{fieldOf(f.Field), f.Problem})
		}
		return newProblem(http.StatusUnprocessableEntity, "nothing was enqueued", faults...)
	}
	if p, ok := errors.AsType[*problem](err); ok {
		return p
	}
	if ctx.Err() != nil {
		return newProblem(http.StatusServiceUnavailable,
			"the request was canceled before Redis answered; retry it").retryAfter("1")
	}
	return newProblem(http.StatusServiceUnavailable,
		"the queue does not answer; retry the request").retryAfter("5")
}

var itemField = regexp.MustCompile(`^items\[(\d+)\]\.(.*)$`)

// fieldOf converts a field of the task payload into the field of the request.
func fieldOf(field string) string {
	item := itemField.FindStringSubmatch(field)
	switch {
	case item == nil:
		return "body." + field
	case item[2] == "cloud_id":
		return "body.cloud_ids[" + item[1] + "]"
	default:
		return "body." + item[2]
	}
}

// notUTF8 rejects a body that is not UTF-8. The JSON decoder would silently replace characters
// in it.
func notUTF8() *problem { return newProblem(http.StatusBadRequest, "the body is not UTF-8") }

// storeUnavailable returns the problem for a store that does not respond.
func storeUnavailable() *problem {
	return newProblem(http.StatusServiceUnavailable, "the store does not answer").retryAfter("5")
}

// unique returns ids without duplicates, in the order of their first occurrence.
func unique(ids []string) []string {
	seen := make(map[string]bool, len(ids))
	kept := make([]string, 0, len(ids))
	for _, id := range ids {
		if !seen[id] {
			seen[id] = true
			kept = append(kept, id)
		}
	}
	return kept
}
