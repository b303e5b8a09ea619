package httpapi_test

import (
	"strings"
	"testing"

	"cloudidq/internal/httpapi"
	"cloudidq/internal/secret"
	"cloudidq/store"
	"cloudidq/tasks"
)

const onlyB = "key-of-app-B-with-every-scope"

// A key limited to some apps may name only the endpoints that list these apps. No key may name
// an endpoint of another app. Both hold for every route. See mayName for the endpoints.
func TestNaming_EndpointsOfOtherApps(t *testing.T) {
	b := newFixture(t, httpapi.NewKey("all", secret.New(admin), httpapi.Scopes, nil),
		httpapi.NewKey("a", secret.New(onlyA), httpapi.Scopes, []string{"wxA"}),
		httpapi.NewKey("b", secret.New(onlyB), httpapi.Scopes, []string{"wxB"}))
	queued := 0
	for _, tt := range []struct {
		key, app, webhook string
		want              int
	}{
		{admin, "wxA", "orders", 202}, {admin, "wxB", "orders", 202}, {admin, "wxA", "ofA", 202}, {admin, "wxB", "ofB", 202},
		{admin, "wxA", "ofB", 422}, {admin, "wxB", "ofA", 422}, {admin, "wxA", "none", 422},
		{onlyA, "wxA", "ofA", 202}, {onlyA, "wxA", "orders", 202}, // endpoints of its own app
		{onlyA, "wxA", "ofB", 403}, {onlyA, "wxA", "none", 403},
		{onlyB, "wxB", "ofB", 202}, {onlyB, "wxB", "orders", 403}, // accepts every app, but does not list wxB
		{onlyB, "wxB", "ofA", 403}, {onlyB, "wxB", "none", 403}, {onlyB, "wxB", "", 202},
	} {
		bearer := []string{"Authorization", "Bearer " + tt.key}
		body := `{"appid":"` + tt.app + `","cloud_ids":["73_1"],"webhook":"` + tt.webhook + `"}`
		query := "/v1/backfills?appid=" + tt.app + "&webhook=" + tt.webhook
		for way, got := range map[string]reply{
			"body.webhook":  b.call("POST", "/v1/resolutions", body, bearer...),
			"query.webhook": b.call("POST", query, `{"cloud_id":"73_1"}`, bearer...),
		} {
			switch {
			case tt.want != 202:
				wantProblem(t, got, tt.want)
				if !strings.Contains(got.body, way) {
					t.Errorf("%s %s: %s does not name the field", way, tt.webhook, got.body)
				}
			case got.status != 202:
				t.Errorf("%s of %s to %q with %s = %d %s", way, tt.app, tt.webhook, tt.key, got.status, got.body)
			default:
				queued++
			}
		}
	}
	if n := len(b.queued(tasks.QueueEvents)) + len(b.queued(tasks.QueueBackfill)); n != queued {
		t.Errorf("%d tasks are queued, want %d", n, queued)
	}
}

// A limited key cannot get around this with work of another key. It cannot continue a backfill
// or replay a delivery whose endpoint it may not name. No key can replay a delivery to an
// endpoint of other apps.
func TestNaming_WorkOfOtherKeys(t *testing.T) {
	b := newFixture(t, httpapi.NewKey("all", secret.New(admin), httpapi.Scopes, nil),
		httpapi.NewKey("b", secret.New(onlyB), httpapi.Scopes, []string{"wxB"}))
	started := b.call("POST", "/v1/backfills?appid=wxB&webhook=orders", `{"cloud_id":"73_1"}`,
		"Authorization", "Bearer "+admin)
	id := parse[acceptedBody](t, started.body).ID
	got := b.call("POST", "/v1/backfills?appid=wxB&resume="+id, `{"cloud_id":"73_1"}`, "Authorization", "Bearer "+onlyB)
	wantProblem(t, got, 403)
	if got := b.call("POST", "/v1/backfills?appid=wxB&resume="+id, `{"cloud_id":"73_1"}`, "Authorization", "Bearer "+admin); got.status != 202 {
		t.Errorf("continuing with a key for all apps = %d %s, want 202", got.status, got.body)
	}
	for endpoint, want := range map[string]map[string]int{
		"orders": {admin: 202, onlyB: 403},
		"ofA":    {admin: 409, onlyB: 403},
		"ofB":    {admin: 202, onlyB: 202},
	} {
		rec := store.Record{AppID: "wxB", CloudID: "73_" + endpoint, Status: store.Failed, Error: &store.Error{}, Deliver: store.Outlet{Endpoint: endpoint}}
		if err := b.results.Save(t.Context(), "t", []store.Record{rec}); err != nil {
			t.Fatal(err)
		}
		delivery, _, err := b.deliveries.Cut(t.Context(), "wxB", endpoint, 1)
		if err != nil {
			t.Fatal(err)
		}
		for key, status := range want {
			before := len(b.webhooks.replayed)
			got := b.call("POST", "/v1/deliveries/"+delivery+"/replay", "", "Authorization", "Bearer "+key)
			if got.status != status || (len(b.webhooks.replayed) > before) != (status == 202) {
				t.Errorf("replay to %s with %s = %d %s, want %d", endpoint, key, got.status, got.body, status)
			}
		}
	}
	wantProblem(t, b.call("POST", "/v1/webhooks/orders/test", "", "Authorization", "Bearer "+onlyB), 403)
}
