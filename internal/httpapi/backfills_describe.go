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
	post.Summary = "Submit cloudIDs as a file of any size"
	post.Description = "Requires scope resolve. The body is NDJSON and is processed while it " +
		"arrives. A line is an object of cloud_id, openid?, obtained_at? and reference?, of at most " +
		"16384 bytes. Invalid lines are skipped and counted; GET /rejects returns the reasons. If the " +
		"body breaks off, the lines received so far are enqueued. To continue, send the body again " +
		"from its start with the same Idempotency-Key or with resume. No line is enqueued twice. A " +
		"changed body is rejected with 422. The Location header has the URL of the backfill, also if " +
		"the response is a problem."
	post.Parameters = []*huma.Param{
		{Name: "appid", In: "query", Required: true, Schema: name, Description: "the mini program that the cloudIDs come from"},
		{Name: "webhook", In: "query", Schema: name,
			Description: "the webhook that gets the results instead of the app's own; it must accept " +
				"results of this app, and for a key limited to some apps it must list the app " +
				"(webhooks[].appids)"},
		{Name: "resume", In: "query", Schema: text, Description: "id of the backfill to continue"},
		{Name: "Idempotency-Key", In: "header", Schema: text,
			Description: "a repeated request with the same key continues where the previous one stopped"},
	}
	line := schemas.Schema(reflect.TypeFor[backfillLine](), true, "")
	post.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{ndjsonType: {Schema: line}}}
	post.Responses["202"] = &huma.Response{
		Description: "all lines have been read and enqueued",
		Content:     map[string]*huma.MediaType{"application/json": {Schema: schemas.Schema(reflect.TypeFor[backfillAccepted](), true, "")}},
		Headers: map[string]*huma.Param{
			"Location": {Schema: text, Description: "URL of the backfill"},
			"Idempotency-Replayed": {Schema: text,
				Description: "true if an earlier request had submitted all lines"},
		},
	}
	id := &huma.Param{Name: "id", In: "path", Required: true, Schema: text}
	backfillSchema := schemas.Schema(reflect.TypeFor[backfill.Backfill](), true, "")

	// Follow a backfill.
	events := streamed(api, "followBackfill", http.MethodGet, "/v1/backfills/{id}/events", ScopeRead, 404)
	events.Summary = "Follow the progress of a backfill as server-sent events"
	events.Description = "Requires scope read. Sends progress events and, when the backfill has " +
		"finished, a done event. The data of each event is the backfill, as its GET returns it. " +
		"A client that reconnects with Last-Event-ID gets what has changed since. It gets 204 if it " +
		"has received the done event already."
	events.Parameters = []*huma.Param{id,
		{Name: "Last-Event-ID", In: "header", Schema: text,
			Description: "id of the last event that the client has received"}}
	events.Responses["200"] = &huma.Response{Description: "events", Content: map[string]*huma.MediaType{"text/event-stream": {Schema: backfillSchema}}}
	events.Responses["204"] = &huma.Response{Description: "the client has received the done event"}

	// Download the results.
	results := streamed(api, "getBackfillResults", http.MethodGet, "/v1/backfills/{id}/results", ScopeRead, 404, 422)
	results.Summary = "Get the finished records of a backfill, in the order of its lines"
	results.Parameters = []*huma.Param{id, {
		Name: "format", In: "query", Schema: &huma.Schema{Type: "string", Enum: []any{"ndjson", "csv"}},
		Description: "ndjson by default",
	}, {
		Name: "raw_csv", In: "query", Schema: &huma.Schema{Type: "boolean"},
		Description: "only with format=csv. If true, texts that begin like formulas are unchanged. If " +
			"false, they are preceded by a single quote, so that a spreadsheet does not run them",
	}}
	record := schemas.Schema(reflect.TypeFor[store.Record](), true, "")
	results.Responses["200"] = &huma.Response{Description: "one record per line",
		Content: map[string]*huma.MediaType{ndjsonType: {Schema: record}, "text/csv": {Schema: text}}}

	// Download the rejected lines.
	rejects := streamed(api, "getBackfillRejects", http.MethodGet, "/v1/backfills/{id}/rejects", ScopeRead, 404)
	rejects.Summary = "Get the rejected lines of a backfill and the reasons; at most the first " + strconv.Itoa(backfill.MaxRejects)
	rejects.Parameters = []*huma.Param{id}
	reject := schemas.Schema(reflect.TypeFor[backfill.Reject](), true, "")
	rejects.Responses["200"] = &huma.Response{Description: "one reject per line",
		Content: map[string]*huma.MediaType{ndjsonType: {Schema: reject}}}

	for _, op := range []*huma.Operation{post, events, results, rejects} {
		api.OpenAPI().AddOperation(op)
	}
}

// backfillLine describes one line of a backfill for the API description. Package lines parses
// lines.
type backfillLine struct {
	CloudID    string `json:"cloud_id" minLength:"1" maxLength:"512"`
	OpenID     string `json:"openid,omitempty" maxLength:"128" doc:"the user that the cloudID belongs to; WeChat requires it for sensitive data"`
	ObtainedAt string `json:"obtained_at,omitempty" format:"date-time" doc:"when the front end obtained it; its lifetime of five minutes starts then. By default, the time at which the line arrives"`
	Reference  string `json:"reference,omitempty" maxLength:"256" doc:"your own key; it is returned in the record"`
}

// streamed describes a plain handler. Its problems are those that every route can return, and
// errors.
func streamed(api huma.API, id, method, path string, scope Scope, errors ...int) *huma.Operation {
	op := &huma.Operation{
		OperationID: id, Method: method, Path: path, Description: "Requires scope " + string(scope) + ".",
		Responses: map[string]*huma.Response{},
	}
	addProblems(api, op, append(errors, 401, 403, 421, 429, 500, 503)...)
	return op
}
