package httpapi_test

import (
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cloudidq/internal/httpapi"
	"cloudidq/internal/secret"
	"cloudidq/store"
	"cloudidq/tasks"
)

const onlyA = "key-of-app-A-with-every-scope"

// A key for one app, with any scopes, cannot read or change anything of another app, on any route.
func TestRoutes_KeyOfOneApp_CannotReachOthers(t *testing.T) {
	b := newFixture(t, httpapi.NewKey("all", secret.New(admin), httpapi.Scopes, nil),
		httpapi.NewKey("a", secret.New(onlyA), httpapi.Scopes, []string{"wxA"}))
	deliveryB := b.plant("wxB")
	b.plant("wxA")
	// The backfill has finished, so a stream of its events would end too.
	backfillB := parse[acceptedBody](t, b.call("POST", "/v1/backfills?appid=wxB", `{"cloud_id":7}`,
		"Authorization", "Bearer "+admin, "Idempotency-Key", "k").body).ID
	before := b.viewOfB(backfillB)

	resolveB := `{"appid":"wxB","cloud_ids":["73_planted"]}`
	covered := map[string]bool{}
	for _, tt := range []struct {
		at, path, body string
		want           int
		header         []string
	}{
		{"POST /v1/resolutions", "/v1/resolutions", resolveB, 403, nil},
		{"POST /v1/resolutions", "/v1/resolutions", resolveB, 403, []string{"Prefer", "wait=10"}},
		{"POST /v1/resolutions", "/v1/resolutions", resolveB, 403, []string{"Idempotency-Key", "k"}},
		{"GET /v1/resolutions/{appid}/{cloud_id}", "/v1/resolutions/wxB/73_planted", "", 403, nil},
		{"GET /v1/resolutions/{appid}/{cloud_id}", "/v1/resolutions/wxA%2F..%2FwxB/73_planted", "", 422, nil}, // not a valid appid
		{"GET /v1/resolutions/{appid}/{cloud_id}", "/v1/resolutions/wxA/73_planted", "", 404, nil},            // unknown to its own app
		{"POST /v1/resolutions/lookup", "/v1/resolutions/lookup", resolveB, 403, nil},
		{"POST /v1/resolutions/lookup", "/v1/resolutions/lookup", strings.Replace(resolveB, "wxB", "wxA", 1), 200, nil},
		{"DELETE /v1/subjects/{appid}/{openid}", "/v1/subjects/wxB/o-planted", "", 403, nil},
		{"DELETE /v1/subjects/{appid}/{openid}", "/v1/subjects/wxA/o-planted", "", 200, nil}, // its own app has no such user
		{"POST /v1/backfills", "/v1/backfills?appid=wxB", "", 403, nil},
		{"POST /v1/backfills", "/v1/backfills?appid=wxA&resume=" + backfillB, "", 404, nil},
		{"POST /v1/backfills", "/v1/backfills?appid=wxB&resume=" + backfillB, "", 403, nil},
		{"GET /v1/backfills/{id}", "/v1/backfills/" + backfillB, "", 404, nil},
		{"GET /v1/backfills/{id}/events", "/v1/backfills/" + backfillB + "/events", "", 404, nil},
		{"GET /v1/backfills/{id}/results", "/v1/backfills/" + backfillB + "/results", "", 404, nil},
		{"GET /v1/backfills/{id}/rejects", "/v1/backfills/" + backfillB + "/rejects", "", 404, nil},
		{"DELETE /v1/backfills/{id}", "/v1/backfills/" + backfillB, "", 404, nil},
		{"GET /v1/deliveries", "/v1/deliveries?appid=wxB", "", 403, nil},
		{"GET /v1/deliveries", "/v1/deliveries", "", 200, nil},
		{"GET /v1/deliveries", "/v1/deliveries?page_size=1&page_token=" + base64.RawURLEncoding.EncodeToString([]byte(deliveryB)), "", 200, nil},
		{"POST /v1/deliveries/{id}/replay", "/v1/deliveries/" + deliveryB + "/replay", "", 404, nil},
		{"POST /v1/webhooks/{name}/test", "/v1/webhooks/orders/test", "", 403, nil}, // endpoints belong to all apps
		{"GET /v1/status", "/v1/status?appid=wxB", "", 403, nil},
		{"GET /v1/status", "/v1/status", "", 200, nil},
		{"GET /", "/?appid=wxB", "", 403, nil},
		{"GET /", "/", "", 200, nil},
		{"GET /monitoring/", "/monitoring/", "", 403, nil},
		{"GET /monitoring/", "/monitoring/api/queues", "", 403, nil},
	} {
		covered[tt.at] = true
		method, _, _ := strings.Cut(tt.at, " ")
		got := b.call(method, tt.path, tt.body, append(slices.Clone(tt.header), "Authorization", "Bearer "+onlyA)...)
		if got.status != tt.want {
			t.Errorf("%s %s = %d %.300s, want %d", method, tt.path, got.status, got.body, tt.want)
		}
		for _, of := range []string{"planted", "wxB", deliveryB, backfillB} {
			if strings.Contains(got.body, of) {
				t.Errorf("%s %s shows %q: %.300s", method, tt.path, of, got.body)
			}
		}
	}
	for _, r := range slices.Concat(routes, pages) {
		if !covered[r.at] && r.needs != nil {
			t.Errorf("%s is not covered", r.at)
		}
	}
	if diff := cmp.Diff(before, b.viewOfB(backfillB)); diff != "" {
		t.Errorf("app B has changed (-before +after):\n%s", diff)
	}
	if len(b.webhooks.replayed) > 0 || len(b.queued(tasks.QueueEvents)) > 0 {
		t.Errorf("replayed %v, queued %v", b.webhooks.replayed, b.queued(tasks.QueueEvents))
	}
}

// plant saves a record and a delivery of an app. Those of app B are the planted ones that must
// not show up.
func (b *fixture) plant(appID string) (delivery string) {
	b.Helper()
	id := "73_own"
	if appID == "wxB" {
		id = "73_planted"
	}
	rec := store.Record{
		AppID: appID, OpenID: "o-" + strings.TrimPrefix(id, "73_"), CloudID: id, Status: store.Resolved, Kind: "phone", Data: json.RawMessage(`{"text":"` + id + `"}`),
		Attempts: 1, AcceptedAt: store.At(time.Now()), FinishedAt: store.At(time.Now()), Deliver: store.Outlet{Endpoint: "orders"},
	}
	if err := b.results.Save(b.Context(), "t", []store.Record{rec}); err != nil {
		b.Fatal(err)
	}
	delivery, _, err := b.deliveries.Cut(b.Context(), appID, "orders", 1)
	if err != nil {
		b.Fatal(err)
	}
	return delivery
}

// viewOfB returns everything that the API shows of app B.
func (b *fixture) viewOfB(backfill string) []string {
	b.Helper()
	var all []string
	for _, path := range []string{"/v1/resolutions/wxB/73_planted", "/v1/deliveries?appid=wxB", "/v1/backfills/" + backfill, "/v1/backfills/" + backfill + "/rejects"} {
		got := b.call("GET", path, "", "Authorization", "Bearer "+admin)
		if got.status != 200 || len(got.body) < 20 {
			b.Fatalf("GET %s = %d %s", path, got.status, got.body)
		}
		all = append(all, got.body)
	}
	return all
}
