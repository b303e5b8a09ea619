package httpapi

import (
	"encoding/json"
	"net/http"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"cloudidq/store"
)

// maxBodyBytes bounds the JSON body of a request in bytes: 100 cloudIDs of 512 bytes, and about as
// much again.
const maxBodyBytes = 128 << 10

// useProblems makes huma respond with this package's problems. It also makes huma match field
// names exactly: otherwise a body with both appid and AppID has two values for one field. huma
// has one such setting for the whole process.
var useProblems = sync.OnceFunc(func() {
	huma.ValidateStrictCasing = true
	huma.NewError = func(status int, message string, errs ...error) huma.StatusError {
		if status == http.StatusInternalServerError { // its text might contain anything
			return newProblem(status, "")
		}
		faults := make([]fault, 0, len(errs))
		for _, err := range errs {
			faults = append(faults, faultOf(err))
		}
		return newProblem(status, message, faults...)
	}
})

// faultOf converts an error of huma. The fault contains nothing that the client sent: neither a
// value nor the name of an unknown field.
func faultOf(err error) fault {
	detailer, ok := err.(huma.ErrorDetailer)
	if !ok {
		return fault{Location: "request", Message: "is invalid"}
	}
	detail := detailer.ErrorDetail()
	location := detail.Location
	switch {
	case detail.Message == "unexpected property":
		return fault{Location: parent(location), Message: "has an unknown field"}
	case strings.HasPrefix(detail.Message, huma.ErrUnknownContentType.Error()):
		return fault{Location: "header.Content-Type", Message: "must be application/json"}
	case strings.HasPrefix(detail.Message, "unknown "):
		return fault{Location: parent(location), Message: "has an unknown parameter"}
	case strings.HasPrefix(detail.Message, "expected "):
		return fault{Location: known(location), Message: detail.Message}
	default:
		return fault{Location: known(location), Message: "is not valid JSON of the expected form"}
	}
}

// parent returns the location of the object that contains a location.
func parent(location string) string {
	return known(location[:max(0, strings.LastIndexByte(location, '.'))])
}

// fieldName matches the locations of this API's own fields.
var fieldName = regexp.MustCompile(`^(body|query|header|path)(\.[A-Za-z_-]{1,20}(\[\d{1,4}\])?){0,2}$`)

// known returns location if it looks like a field of this API, and "body" otherwise.
func known(location string) string {
	if fieldName.MatchString(location) {
		return location
	}
	return "body"
}

// newHuma returns a huma API on mux. huma parses and validates requests and describes the routes.
func newHuma(mux *http.ServeMux) huma.API {
	useProblems()
	config := huma.DefaultConfig("cloudidq", "1")
	config.Info.Description = "Exchanges WeChat cloudIDs for their open data, in the background."
	config.SchemasPath, config.DocsPath, config.OpenAPIPath = "", "", ""
	config.CreateHooks = nil // no $schema in responses
	config.Formats = map[string]huma.Format{"application/json": huma.DefaultJSONFormat, "application/problem+json": huma.DefaultJSONFormat}
	config.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"key": {Type: "http", Scheme: "bearer", Description: "a key of api.keys"},
	}
	config.Security = []map[string][]string{{"key": {}}}
	config.RejectUnknownQueryParameters = true
	config.Components.Schemas.RegisterTypeAlias(reflect.TypeFor[store.Time](), reflect.TypeFor[time.Time]())
	return humago.New(mux, config)
}

// operation describes a route that requires a scope.
func operation(id, method, path, summary string, scope Scope, status int, errors ...int) huma.Operation {
	op := huma.Operation{
		OperationID: id, Method: method, Path: path, Summary: summary, DefaultStatus: status,
		MaxBodyBytes: maxBodyBytes,
		Description:  "Requires scope " + string(scope) + ".",
		Errors: append([]int{
			http.StatusUnauthorized, http.StatusForbidden, http.StatusMisdirectedRequest, http.StatusTooManyRequests,
		}, errors...),
	}
	if method == http.MethodPost {
		op.Middlewares = huma.Middlewares{checkScopeFirst(scope)}
	}
	return op
}

// checkScopeFirst rejects a key without the scope before the body is read.
func checkScopeFirst(scope Scope) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		if caller(ctx.Context()).hasScope(scope) {
			next(ctx)
			return
		}
		_, w := humago.Unwrap(ctx)
		writeError(w, permit(ctx.Context(), scope, ""))
	}
}

// describe serves the API description, and adds the routes that huma does not serve.
func describe(mux *http.ServeMux, api huma.API) {
	// WeChat's pushes.
	push := &huma.Operation{
		OperationID: "push", Method: http.MethodPost, Path: "/v1/wechat/components/{appid}/events",
		Summary: "Receive WeChat's pushes to a third-party platform",
		Description: "WeChat encrypts and signs the body. The response is the text success. Enter this " +
			"URL in the platform's console.",
		Security: []map[string][]string{},
		Parameters: []*huma.Param{{
			Name: "appid", In: "path", Required: true, Schema: &huma.Schema{Type: "string"},
			Description: "appid of the component",
		}},
		RequestBody: &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"text/xml": {}}},
		Responses:   map[string]*huma.Response{"200": {Description: "success", Content: map[string]*huma.MediaType{"text/plain": {}}}},
	}
	addProblems(api, push, 400, 403, 404, 413, 500, 503)
	api.OpenAPI().AddOperation(push)
	describeBackfills(api)
	// Correct what huma has set for routes with a body.
	for _, path := range api.OpenAPI().Paths {
		if path.Post != nil && path.Post.RequestBody != nil {
			path.Post.BodyReadTimeout = 0                                     // use the server's own timeout; huma has set one
			delete(path.Post.RequestBody.Content, "application/octet-stream") // huma adds this for RawBody
		}
	}
	// huma describes one status per route. Add the 200 of a request that waited.
	responses := api.OpenAPI().Paths["/v1/resolutions"].Post.Responses
	waited := *responses["202"]
	waited.Description = "the request had Prefer: wait, and all cloudIDs have a final status"
	responses["200"] = &waited
	mux.HandleFunc("GET /openapi.yaml", func(w http.ResponseWriter, _ *http.Request) {
		text, err := api.OpenAPI().YAML()
		serveText(w, "application/yaml", text, err)
	})
	mux.HandleFunc("GET /openapi.json", func(w http.ResponseWriter, _ *http.Request) {
		text, err := json.Marshal(api.OpenAPI())
		serveText(w, "application/json", text, err)
	})
}

// addProblems adds problem responses to a route that huma does not serve.
func addProblems(api huma.API, op *huma.Operation, statuses ...int) {
	problems := api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[problem](), true, "")
	for _, status := range statuses {
		op.Responses[strconv.Itoa(status)] = &huma.Response{
			Description: http.StatusText(status),
			Content:     map[string]*huma.MediaType{"application/problem+json": {Schema: problems}},
		}
	}
}

// serveText responds with a text, or with 500 if err is not nil.
func serveText(w http.ResponseWriter, kind string, text []byte, err error) {
	if err != nil {
		httpError(w, http.StatusInternalServerError, "")
		return
	}
	w.Header().Set("Content-Type", kind)
	_, _ = w.Write(text)
}
