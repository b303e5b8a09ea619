package httpapi_test

import (
	"flag"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite docs/openapi.yaml")

// docs/openapi.yaml equals the description that the server serves.
func TestOpenAPI_IsCommitted(t *testing.T) {
	const path = "../../docs/openapi.yaml"
	b := newFixture(t)
	got := b.call("GET", "/openapi.yaml", "")
	if *update {
		if err := os.WriteFile(path, []byte(got.body), 0o644); err != nil { //nolint:gosec // a document
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(string(committed(t)), got.body); diff != "" {
		t.Errorf("docs/openapi.yaml differs; run with -update if the change is intended (-want +got):\n%s", diff)
	}
	if json := b.call("GET", "/openapi.json", ""); json.status != 200 {
		t.Errorf("answer = %d %s", json.status, json.body)
	}
}

// docs/openapi.yaml is a valid OpenAPI 3.1 document.
func TestOpenAPI_IsValid(t *testing.T) {
	d, err := newDescription(committed(t))
	if err != nil {
		t.Fatal(err)
	}
	if d.Version != "3.1.0" {
		t.Errorf("version = %s", d.Version)
	}
}

// A document with one fault is rejected, which shows that TestOpenAPI_IsValid can fail.
func TestOpenAPI_FaultsAreFound(t *testing.T) {
	text := string(committed(t))
	for name, change := range map[string][2]string{
		"not 3.1":                             {"openapi: 3.1.0", "openapi: 3.0.3"},
		"no title":                            {"  title: cloudidq\n", ""},
		"unknown field of the document":       {"\nopenapi:", "\nopenapy: 1\nopenapi:"},
		"unknown field of an operation":       {"      operationId: status", "      operationid: x\n      operationId: status"},
		"a parameter without a location":      {"- description: only this app\n          explode: false\n          in: query", "- in: body"},
		"a response without a description":    {"          description: OK\n", ""},
		"an unknown type":                     {"type: string", "type: text"},
		"a bound that is not a number":        {"maxLength: 128", "maxLength: many"},
		"an invalid pattern":                  {"type: string", "type: string\n          pattern: '('"},
		"a reference to nothing":              {`"#/components/schemas/Problem"`, `"#/components/schemas/Problems"`},
		"a reference to nothing, in a schema": {`"#/components/schemas/Alert"`, `"#/components/schemas/Alarm"`},
		"one operationId twice":               {"operationId: getBackfill\n", "operationId: status\n"},
		"a path parameter by another name":    {"  /v1/backfills/{id}:", "  /v1/backfills/{name}:"},
	} {
		t.Run(name, func(t *testing.T) {
			changed := strings.Replace(text, change[0], change[1], 1)
			if changed == text {
				t.Fatalf("the document has no %q", change[0])
			}
			if _, err := newDescription([]byte(changed)); err == nil {
				t.Error("the document was accepted")
			}
		})
	}
}

// A response with one fault is rejected, and accepted without the fault. This shows that the
// test of all routes can fail.
func TestOpenAPI_WrongResponsesAreFound(t *testing.T) {
	d, err := newDescription(committed(t))
	if err != nil {
		t.Fatal(err)
	}
	of := func(media string) http.Header { return http.Header{"Content-Type": {media}} }
	const (
		erase, record  = "DELETE /v1/subjects/wxA/o1", "GET /v1/resolutions/wxA/73_1"
		rejects, event = "GET /v1/backfills/b/rejects", "GET /v1/backfills/b/events"
		json, lines    = "application/json", "application/x-ndjson"
		problem        = "application/problem+json"
	)
	erased := reply{200, of(json), `{"erased":1}`}
	absent := reply{404, of(problem), `{"type":"about:blank","title":"Not Found","status":404}`}
	stored := func(at string) reply {
		return reply{200, of(json), `{"appid":"wxA","cloud_id":"73_1","status":"pending","attempts":0,"accepted_at":"` + at + `"}`}
	}
	done := reply{204, http.Header{}, ""}
	for name, c := range map[string]struct {
		to           string
		right, wrong reply
	}{
		"a status that is not described": {erase, erased, reply{201, of(json), erased.body}},
		"another content type":           {erase, erased, reply{200, of("text/plain"), erased.body}},
		"no content type":                {erase, erased, reply{200, http.Header{}, erased.body}},
		"no body":                        {erase, erased, reply{200, of(json), ""}},
		"no JSON":                        {erase, erased, reply{200, of(json), `{"erased":1`}},
		"a field too many":               {erase, erased, reply{200, of(json), `{"erased":1,"planted":1}`}},
		"a field too few":                {erase, erased, reply{200, of(json), `{}`}},
		"a field of another type":        {erase, erased, reply{200, of(json), `{"erased":"1"}`}},
		"an integer of 65 bits":          {erase, erased, reply{200, of(json), `{"erased":9223372036854775808}`}},
		"not a time":                     {record, stored("2026-11-27T13:00:00Z"), stored("yesterday")},
		"an error that is no problem":    {record, absent, reply{404, of(json), absent.body}},
		"a problem of another type":      {record, absent, reply{404, of(problem), strings.ReplaceAll(absent.body, "404", `"404"`)}},
		"a second line that is wrong":    {rejects, reply{200, of(lines), "{\"line\":1,\"error\":\"e\"}\n"}, reply{200, of(lines), "{\"line\":1,\"error\":\"e\"}\n{\"line\":2}\n"}},
		"an event that is wrong":         {event, done, reply{200, of("text/event-stream"), "event: progress\ndata: {\"id\":7}\n\n"}},
		"a body where there is none":     {event, done, reply{204, http.Header{}, "x"}},
	} {
		t.Run(name, func(t *testing.T) {
			method, target, _ := strings.Cut(c.to, " ")
			if err := d.answer(method, target, c.right); err != nil {
				t.Errorf("%s = %d %s: %v", c.to, c.right.status, c.right.body, err)
			}
			if err := d.answer(method, target, c.wrong); err == nil {
				t.Errorf("%s = %d %s was accepted", c.to, c.wrong.status, c.wrong.body)
			}
		})
	}
	for _, to := range []string{"DELETE /v1/subject/wxA/o1", "PUT /v1/subjects/wxA/o1", "DELETE /v1/subjects/wxA", "DELETE /v1/subjects//o1"} {
		method, target, _ := strings.Cut(to, " ")
		if err := d.answer(method, target, erased); err == nil {
			t.Errorf("%s was accepted, but is not described", to)
		}
	}
}

// A request with one fault is rejected too.
func TestOpenAPI_WrongRequestsAreFound(t *testing.T) {
	d, err := newDescription(committed(t))
	if err != nil {
		t.Fatal(err)
	}
	of := func(media string) http.Header { return http.Header{"Content-Type": {media}} }
	const resolutions = "/v1/resolutions"
	for name, r := range map[string]struct {
		method, target string
		header         http.Header
		body           string
	}{
		"":                             {"POST", resolutions, of("application/json"), `{"appid":"wxA","cloud_ids":["73_1"]}`},
		"a query parameter too many":   {"POST", resolutions + "?a=b", of("application/json"), `{"appid":"wxA","cloud_ids":["73_1"]}`},
		"another content type":         {"POST", resolutions, of("text/plain"), `{"appid":"wxA","cloud_ids":["73_1"]}`},
		"no body":                      {"POST", resolutions, of("application/json"), ``},
		"a field too few":              {"POST", resolutions, of("application/json"), `{"appid":"wxA"}`},
		"a query parameter too few":    {"POST", "/v1/backfills", of("application/x-ndjson"), `{"cloud_id":"73_1"}`},
		"a value unknown to an enum":   {"GET", "/v1/deliveries?status=lost", nil, ""},
		"a text for a number":          {"GET", "/v1/status?limit=many", nil, ""},
		"a number below its bound":     {"GET", "/v1/status?limit=-1", nil, ""},
		"a text that is too long":      {"GET", "/v1/status?appid=" + strings.Repeat("a", 65), nil, ""},
		"a body where there is none":   {"GET", "/v1/status", of("application/json"), "{}"},
		"a path with an empty segment": {"GET", "/v1/resolutions//73_1", nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if err := d.request(r.method, r.target, r.header, r.body); (err == nil) != (name == "") {
				t.Errorf("%s %s %s = %v", r.method, r.target, r.body, err)
			}
		})
	}
}
