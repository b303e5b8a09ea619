package httpapi

import (
	"net/http"
	"reflect"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"cloudidq/internal/backfill"
	"cloudidq/store"
	"cloudidq/tasks"
)

// describeBackfills adds the plain handlers, which huma does not know, to the API description.
func describeBackfills(api huma.API) {
	schemas := api.OpenAPI().Components.Schemas
	text := &huma.Schema{Type: "string"}
	name := &huma.Schema{Type: "string", Pattern: tasks.NamePattern}
	// Submit a backfill.
	post := streamed(api, "createBackfill", http.MethodPost, "/v1/backfills", ScopeResolve, 400, 404, 408, 409, 415, 422)
	post.Summary = "Hand in cloudIDs as a file of any size"
	post.Description = "Needs scope resolve. The body is NDJSON and is taken as it comes: a line is an object of cloud_id, openid?, obtained_at? " +
		"and reference?, of at most 16384 bytes. Bad lines are skipped and counted, and /rejects says why. A body that breaks " +
		"off leaves what has come in; sent again from its start, under the same Idempotency-Key or with resume, it goes on " +
		"behind that, and no line is enqueued twice. One that has changed is refused with 422. The Location header names the " +
		"backfill, also where the answer is a problem."
	post.Parameters = []*huma.Param{
		{Name: "appid", In: "query", Required: true, Schema: name, Description: "the mini program that the cloudIDs come from"},
		{Name: "webhook", In: "query", Schema: name, Description: "the endpoint to deliver the results to, instead of " +
			"the app's; one that takes results of this app, and for a key of some apps one that lists it (webhooks[].appids)"},
		{Name: "resume", In: "query", Schema: text, Description: "id of a backfill to go on with"},
		{Name: "Idempotency-Key", In: "header", Schema: text, Description: "a request that is repeated under the same key goes on where the one before has stopped"},
	}
	line := schemas.Schema(reflect.TypeFor[backfillLine](), true, "")
	post.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{ndjsonType: {Schema: line}}}
	post.Responses["202"] = &huma.Response{
		Description: "all lines are in",
		Content:     map[string]*huma.MediaType{"application/json": {Schema: schemas.Schema(reflect.TypeFor[backfillAccepted](), true, "")}},
		Headers: map[string]*huma.Param{
			"Location":             {Schema: text, Description: "of the backfill"},
			"Idempotency-Replayed": {Schema: text, Description: "true if all lines were in before"},
		},
	}
	id := &huma.Param{Name: "id", In: "path", Required: true, Schema: text}
	backfillSchema := schemas.Schema(reflect.TypeFor[backfill.Backfill](), true, "")

	// Follow a backfill.
	events := streamed(api, "followBackfill", http.MethodGet, "/v1/backfills/{id}/events", ScopeRead, 404)
	events.Summary = "How far a backfill is, as server-sent events"
	events.Description = "Needs scope read. Events progress and, at the end, done; the data of each is the backfill, as GET of it has it. " +
		"A client that comes back with Last-Event-ID is told what has changed since; 204 says that it has been told the end."
	events.Parameters = []*huma.Param{id, {Name: "Last-Event-ID", In: "header", Schema: text, Description: "id of the last event that the client has"}}
	events.Responses["200"] = &huma.Response{Description: "events", Content: map[string]*huma.MediaType{"text/event-stream": {Schema: backfillSchema}}}
	events.Responses["204"] = &huma.Response{Description: "the client has been told the end"}

	// Download the results.
	results := streamed(api, "getBackfillResults", http.MethodGet, "/v1/backfills/{id}/results", ScopeRead, 404, 422)
	results.Summary = "The records of a backfill that have ended, in the order of its lines"
	results.Parameters = []*huma.Param{id, {
		Name: "format", In: "query", Schema: &huma.Schema{Type: "string", Enum: []any{"ndjson", "csv"}}, Description: "ndjson unless said",
	}, {
		Name: "raw_csv", In: "query", Schema: &huma.Schema{Type: "boolean"},
		Description: "true with format=csv: texts that begin as formulas do stay as they are. Without it they stand behind a single quote, so that a spreadsheet does not run them",
	}}
	record := schemas.Schema(reflect.TypeFor[store.Record](), true, "")
	results.Responses["200"] = &huma.Response{Description: "a record a line", Content: map[string]*huma.MediaType{ndjsonType: {Schema: record}, "text/csv": {Schema: text}}}

	// Download the rejected lines.
	rejects := streamed(api, "getBackfillRejects", http.MethodGet, "/v1/backfills/{id}/rejects", ScopeRead, 404)
	rejects.Summary = "The lines of a backfill that were rejected, and why; the first " + strconv.Itoa(backfill.MaxRejects)
	rejects.Parameters = []*huma.Param{id}
	reject := schemas.Schema(reflect.TypeFor[backfill.Reject](), true, "")
	rejects.Responses["200"] = &huma.Response{Description: "a reject a line", Content: map[string]*huma.MediaType{ndjsonType: {Schema: reject}}}

	for _, op := range []*huma.Operation{post, events, results, rejects} {
		api.OpenAPI().AddOperation(op)
	}
}

// backfillLine describes one line of a backfill for the API description. Package lines parses
// lines.
type backfillLine struct {
	CloudID    string `json:"cloud_id" minLength:"1" maxLength:"512"`
	OpenID     string `json:"openid,omitempty" maxLength:"128" doc:"the user whose it is; WeChat demands it for sensitive data"`
	ObtainedAt string `json:"obtained_at,omitempty" format:"date-time" doc:"when the front end got it: its five minutes run from here. Without it, from its coming in"`
	Reference  string `json:"reference,omitempty" maxLength:"256" doc:"your own key, which comes back in the record"`
}

// streamed describes a plain handler. Its problems are those that every route can return, and
// errors.
func streamed(api huma.API, id, method, path string, scope Scope, errors ...int) *huma.Operation {
	op := &huma.Operation{
		OperationID: id, Method: method, Path: path, Description: "Needs scope " + string(scope) + ".", Responses: map[string]*huma.Response{},
	}
	addProblems(api, op, append(errors, 401, 403, 421, 429, 500, 503)...)
	return op
}
