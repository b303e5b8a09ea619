package httpapi_test

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"cloudidq/internal/httpapi"
	"cloudidq/internal/secret"
	"cloudidq/store"
)

// request is a request and the expected status of its response.
type request struct {
	want       int
	path, body string
	header     []string
}

// route is a method and a path, with valid and invalid requests.
type route struct {
	at        string          // method and path, as in the description
	needs     []httpapi.Scope // a key needs one of these
	good, bad []request       // bad: invalid requests; empty for a route without input
}

// routes lists all routes of the description, with requests for the data in the fixture.
// {backfill} and {delivery} stand for ids in the fixture.
var routes = []route{
	{
		"POST /v1/resolutions", []httpapi.Scope{httpapi.ScopeResolve},
		[]request{
			{want: 202, path: "/v1/resolutions", body: `{"appid":"wxA","cloud_ids":["73_1"]}`},
			{want: 200, path: "/v1/resolutions", body: `{"appid":"wxA","cloud_ids":["73_1"]}`, header: []string{"Prefer", "wait=20"}},
		},
		[]request{
			{want: 400, path: "/v1/resolutions", body: `{"appid":"planted`},
			{want: 413, path: "/v1/resolutions", body: strings.Repeat("planted", 1<<16)},
			{want: 422, path: "/v1/resolutions", body: `{"appid":"planted","cloud_ids":["planted"]}`},
			{want: 422, path: "/v1/resolutions?planted=planted", body: `{"appid":"wxA","cloud_ids":["planted"]}`},
		},
	},
	{
		"GET /v1/resolutions/{appid}/{cloud_id}", []httpapi.Scope{httpapi.ScopeRead},
		[]request{{want: 200, path: "/v1/resolutions/wxA/73_1"}},
		[]request{{want: 404, path: "/v1/resolutions/planted/planted"}, {want: 422, path: "/v1/resolutions/planted.planted/73_1"}, {want: 422, path: "/v1/resolutions/wxA/73_1?planted=1"}},
	},
	{
		"POST /v1/resolutions/lookup", []httpapi.Scope{httpapi.ScopeRead},
		[]request{{want: 200, path: "/v1/resolutions/lookup", body: `{"appid":"wxA","cloud_ids":["73_1","73_unknown"]}`}},
		[]request{
			{want: 400, path: "/v1/resolutions/lookup", body: `planted`},
			{want: 413, path: "/v1/resolutions/lookup", body: strings.Repeat("planted", 1<<16)},
			{want: 422, path: "/v1/resolutions/lookup", body: `{"appid":"wxA","cloud_ids":"planted"}`},
		},
	},
	{
		"DELETE /v1/subjects/{appid}/{openid}", []httpapi.Scope{httpapi.ScopeErase},
		[]request{{want: 200, path: "/v1/subjects/wxB/o1"}},
		[]request{
			{want: 422, path: "/v1/subjects/wxB/o1?planted=planted"}, {want: 422, path: "/v1/subjects/planted/planted"},
			{want: 422, path: "/v1/subjects/planted.planted/o1"},
		},
	},
	{
		"POST /v1/backfills", []httpapi.Scope{httpapi.ScopeResolve},
		[]request{{want: 202, path: "/v1/backfills?appid=wxA", body: `{"cloud_id":"73_1"}`, header: []string{"Content-Type", "application/x-ndjson"}}},
		[]request{
			{want: 422, path: "/v1/backfills?appid=planted"}, {want: 404, path: "/v1/backfills?appid=wxA&resume=planted"},
			{want: 400, path: "/v1/backfills?appid=wxA", header: []string{"Idempotency-Key", "planted planted"}},
			{want: 415, path: "/v1/backfills?appid=wxA", header: []string{"Content-Type", "text/csv; header=planted"}},
		},
	},
	{
		"GET /v1/backfills/{id}", []httpapi.Scope{httpapi.ScopeRead},
		[]request{{want: 200, path: "/v1/backfills/{backfill}"}}, []request{{want: 404, path: "/v1/backfills/planted"}},
	},
	{
		"GET /v1/backfills/{id}/events", []httpapi.Scope{httpapi.ScopeRead},
		[]request{{want: 200, path: "/v1/backfills/{backfill}/events"}}, []request{{want: 404, path: "/v1/backfills/planted/events"}},
	},
	{
		"GET /v1/backfills/{id}/results", []httpapi.Scope{httpapi.ScopeRead},
		[]request{{want: 200, path: "/v1/backfills/{backfill}/results"}, {want: 200, path: "/v1/backfills/{backfill}/results?format=csv"}, {want: 200, path: "/v1/backfills/{backfill}/results?format=csv&raw_csv=true"}},
		[]request{{want: 404, path: "/v1/backfills/planted/results"}, {want: 422, path: "/v1/backfills/{backfill}/results?format=planted"},
			{want: 422, path: "/v1/backfills/{backfill}/results?format=csv&raw_csv=planted"}, {want: 422, path: "/v1/backfills/{backfill}/results?raw_csv=true"},
		},
	},
	{
		"GET /v1/backfills/{id}/rejects", []httpapi.Scope{httpapi.ScopeRead},
		[]request{{want: 200, path: "/v1/backfills/{backfill}/rejects"}}, []request{{want: 404, path: "/v1/backfills/planted/rejects"}},
	},
	{
		"DELETE /v1/backfills/{id}", []httpapi.Scope{httpapi.ScopeResolve, httpapi.ScopeAdmin},
		[]request{{want: 200, path: "/v1/backfills/{backfill}"}}, []request{{want: 404, path: "/v1/backfills/planted"}},
	},
	{
		"GET /v1/deliveries", []httpapi.Scope{httpapi.ScopeRead},
		[]request{{want: 200, path: "/v1/deliveries?status=pending&appid=wxA&endpoint=orders&page_size=10"}},
		[]request{
			{want: 422, path: "/v1/deliveries?status=planted"}, {want: 422, path: "/v1/deliveries?page_size=planted"},
			{want: 422, path: "/v1/deliveries?planted=planted"}, {want: 400, path: "/v1/deliveries?page_token=planted"},
		},
	},
	{
		"POST /v1/deliveries/{id}/replay", []httpapi.Scope{httpapi.ScopeAdmin},
		[]request{{want: 202, path: "/v1/deliveries/{delivery}/replay"}}, []request{{want: 404, path: "/v1/deliveries/planted/replay"}},
	},
	{
		"POST /v1/webhooks/{name}/test", []httpapi.Scope{httpapi.ScopeAdmin},
		[]request{{want: 200, path: "/v1/webhooks/orders/test"}}, []request{{want: 404, path: "/v1/webhooks/planted/test"}, {want: 422, path: "/v1/webhooks/planted.planted/test"}},
	},
	{
		"GET /v1/status", []httpapi.Scope{httpapi.ScopeRead},
		[]request{{want: 200, path: "/v1/status?appid=wxA&limit=5"}},
		[]request{{want: 422, path: "/v1/status?limit=planted"}, {want: 422, path: "/v1/status?planted=planted"}},
	},
	{
		"POST /v1/wechat/components/{appid}/events", nil,
		[]request{{want: 200, path: "/v1/wechat/components/wxc/events", body: "<xml/>", header: []string{"Content-Type", "text/xml"}}},
		[]request{
			{want: 404, path: "/v1/wechat/components/planted/events"},
			{want: 413, path: "/v1/wechat/components/wxc/events", body: strings.Repeat("planted", 1<<16)},
		},
	},
}

// pages lists the routes that are not in the description: the web pages and the description itself.
var pages = []route{
	{"GET /", []httpapi.Scope{httpapi.ScopeRead}, []request{{want: 200, path: "/"}}, nil},
	{
		"GET /monitoring/", []httpapi.Scope{httpapi.ScopeRead, httpapi.ScopeAdmin},
		[]request{{want: 200, path: "/monitoring/"}, {want: 200, path: "/monitoring/api/queues"}}, nil,
	},
	{"GET /openapi.yaml", nil, []request{{want: 200, path: "/openapi.yaml"}}, nil},
	{"GET /openapi.json", nil, []request{{want: 200, path: "/openapi.json"}}, nil},
}

// walk is the fixture for a test of all routes. For each scope there is a key that has only this
// scope.
type walk struct {
	*fixture
	describes *description
	ids       *strings.Replacer
}

func newWalk(t *testing.T) *walk {
	t.Helper()
	keys := []httpapi.Key{httpapi.NewKey("all", secret.New(admin), httpapi.Scopes, nil)}
	for _, scope := range httpapi.Scopes {
		keys = append(keys, httpapi.NewKey("only "+string(scope), secret.New("key-with-only-"+string(scope)), []httpapi.Scope{scope}, nil))
	}
	w := &walk{fixture: newFixture(t, keys...)}
	w.save("wxA", "73_1", "73_2")
	w.save("wxB", "73_1")
	rec := store.Record{AppID: "wxA", CloudID: "73_d", Status: store.Failed, Error: &store.Error{}, Deliver: store.Outlet{Endpoint: "orders"}}
	if err := w.results.Save(t.Context(), "t", []store.Record{rec}); err != nil {
		t.Fatal(err)
	}
	delivery, _, err := w.deliveries.Cut(t.Context(), "wxA", "orders", 1)
	if err != nil {
		t.Fatal(err)
	}
	in := w.call("POST", "/v1/backfills?appid=wxA", `{"cloud_id":7}`, "Authorization", "Bearer "+admin) // this backfill finishes at once
	w.ids = strings.NewReplacer("{backfill}", parse[acceptedBody](t, in.body).ID, "{delivery}", delivery)
	if w.describes, err = newDescription([]byte(w.call("GET", "/openapi.yaml", "").body)); err != nil {
		t.Fatal(err)
	}
	return w
}

// send sends a request with a key. The response must have the expected status and match the
// description. If the request succeeds, the request must match the description too.
func (w *walk) send(t *testing.T, method string, r request, key string, described bool) reply {
	t.Helper()
	path := w.ids.Replace(r.path)
	header := append([]string{"Authorization", "Bearer " + key}, r.header...)
	if key == "" {
		header = r.header
	}
	got := w.call(method, path, r.body, header...)
	if got.status != r.want {
		t.Errorf("%s %s with %q = %d %.300s, want %d", method, r.path, key, got.status, got.body, r.want)
	}
	if r.want >= 400 {
		wantProblem(t, got, r.want)
	}
	if !described {
		return got
	}
	if err := w.describes.answer(method, path, got); err != nil {
		t.Errorf("%s %s = %d %.300s does not match the description: %v", method, r.path, got.status,
			got.body, err)
	}
	if r.want < 400 {
		if err := w.describes.request(method, path, headers(header), r.body); err != nil {
			t.Errorf("%s %s succeeds, but does not match the description: %v", method, r.path, err)
		}
	}
	return got
}

// headers converts the names and values of [fixture.call] to a header.
func headers(pairs []string) http.Header {
	h := http.Header{"Content-Type": {"application/json"}}
	for i := 0; i < len(pairs); i += 2 {
		h.Set(pairs[i], pairs[i+1])
	}
	return h
}

// Every route of the description is called over the network, with valid and invalid requests.
// Its responses match the description, and each rejection is a problem that repeats nothing of
// the request.
func TestRoutes_MatchDescription(t *testing.T) {
	w := newWalk(t)
	known := map[string]bool{}
	for _, r := range routes {
		known[r.at] = true
		t.Run(r.at, func(t *testing.T) { w.route(t, r, true) })
	}
	for _, r := range pages {
		t.Run(r.at, func(t *testing.T) { w.route(t, r, false) })
	}
	wantAllDescribed(t, w, known)
	if log := w.log.String(); strings.Contains(log, "planted") {
		t.Errorf("the log contains submitted data: %s", log)
	}
}

func (w *walk) route(t *testing.T, r route, described bool) {
	method, _, _ := strings.Cut(r.at, " ")
	// Send the invalid requests first, because a valid one may delete the data that they need.
	for _, bad := range r.bad {
		w.send(t, method, bad, admin, described)
	}
	for _, good := range r.good {
		refused := good
		if refused.want = 401; r.needs != nil {
			got := w.send(t, method, refused, "", described)
			if got.header.Get("Www-Authenticate") == "" {
				t.Errorf("%s: a 401 without WWW-Authenticate", r.at)
			}
		}
		for _, scope := range httpapi.Scopes {
			if refused.want = 403; r.needs != nil && !slices.Contains(r.needs, scope) {
				w.send(t, method, refused, "key-with-only-"+string(scope), described)
			}
		}
		w.send(t, method, good, admin, described)
		for _, scope := range r.needs {
			if !slices.Contains(good.header, "Prefer") || scope != httpapi.ScopeResolve { // waiting also needs scope read
				w.send(t, method, good, "key-with-only-"+string(scope), described)
			}
		}
	}
	if path := r.good[0].path; path != "/monitoring/" {
		got := w.send(t, "PATCH", request{want: 405, path: path}, admin, false)
		if !strings.Contains(got.header.Get("Allow"), method) {
			t.Errorf("%s: Allow = %q", r.at, got.header.Get("Allow"))
		}
		path, _, _ = strings.Cut(strings.TrimSuffix(path, "/"), "?")
		w.send(t, method, request{want: 404, path: path + "/planted/planted/planted"}, admin, false)
	}
}

// wantAllDescribed checks that the description and the table have the same routes.
func wantAllDescribed(t *testing.T, w *walk, known map[string]bool) {
	t.Helper()
	doc := parse[struct {
		Paths map[string]map[string]any `json:"paths"`
	}](t, w.call("GET", "/openapi.json", "").body)
	described := map[string]bool{}
	for path, methods := range doc.Paths {
		for method := range methods {
			described[strings.ToUpper(method)+" "+path] = true
		}
	}
	if !maps.Equal(described, known) {
		t.Errorf("described and tested routes differ:\n%v\n%v", slices.Sorted(maps.Keys(described)),
			slices.Sorted(maps.Keys(known)))
	}
}
