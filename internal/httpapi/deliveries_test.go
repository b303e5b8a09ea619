package httpapi_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"cloudidq/store"
)

func TestDeliveries(t *testing.T) {
	b := newFixture(t, allKeys()...)
	for n := range 7 {
		for _, app := range []string{"wxA", "wxB"} {
			rec := store.Record{AppID: app, CloudID: fmt.Sprintf("73_%d", n), Status: store.Failed, Error: &store.Error{}, Deliver: store.Outlet{Endpoint: "orders"}}
			if err := b.results.Save(t.Context(), "t", []store.Record{rec}); err != nil {
				t.Fatal(err)
			}
			if _, _, err := b.deliveries.Cut(t.Context(), app, "orders", 1); err != nil {
				t.Fatal(err)
			}
		}
	}
	type page struct {
		Deliveries    []store.Delivery
		NextPageToken string `json:"next_page_token"`
	}
	list := func(token, query string) (ids []string) {
		next := ""
		for {
			got := b.call("GET", "/v1/deliveries?page_size=3"+query+"&page_token="+next, "", "Authorization", "Bearer "+token)
			p := parse[page](t, got.body)
			if got.status != 200 || len(p.Deliveries) > 3 {
				t.Fatalf("answer = %d %s", got.status, got.body)
			}
			for _, d := range p.Deliveries {
				if slices.Contains(ids, d.ID) {
					t.Errorf("%s is on two pages", d.ID)
				}
				ids = append(ids, d.ID)
			}
			if next = p.NextPageToken; next == "" {
				return ids
			}
		}
	}
	if all := list(admin, ""); len(all) != 14 {
		t.Errorf("%d deliveries, want 14", len(all))
	}
	own := list(shopA, "")
	if len(own) != 7 || len(list(admin, "&appid=wxB&status=pending&endpoint=orders")) != 7 || len(list(admin, "&status=held")) != 0 {
		t.Errorf("%d deliveries of app A", len(own))
	}
	bearer := []string{"Authorization", "Bearer " + admin}
	for _, query := range []string{"page_size=-1", "page_size=x", "status=planted", "planted=1"} {
		wantProblem(t, b.call("GET", "/v1/deliveries?"+query, "", bearer...), 422)
	}
	for _, token := range []string{"planted", "bXNnX3g"} {
		wantProblem(t, b.call("GET", "/v1/deliveries?page_token="+token, "", bearer...), 400)
	}
	if got := b.call("POST", "/v1/deliveries/"+own[0]+"/replay", "", bearer...); got.status != 202 || !slices.Equal(b.webhooks.replayed, own[:1]) {
		t.Errorf("answer = %d %s", got.status, got.body)
	}
	wantProblem(t, b.call("POST", "/v1/deliveries/msg_unknown/replay", "", bearer...), 404)
	if got := b.call("POST", "/v1/webhooks/orders/test", "", bearer...); got.status != 200 || !strings.Contains(got.body, `"class":"ok"`) {
		t.Errorf("answer = %d %s", got.status, got.body)
	}
	wantProblem(t, b.call("POST", "/v1/webhooks/planted/test", "", bearer...), 404)
}
