package httpapi_test

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"

	"cloudidq/tasks"
)

// The same rule for appids and webhook names applies to every input of the API. An invalid name
// is rejected before Redis is used. The response has the field and the rule, but not the name.
func TestNames_SameRuleForEveryInput(t *testing.T) {
	b := newFixture(t, allKeys()...)
	for _, planted := range []string{`planted","x":"`, "planted 1", "planted.1", "planted:1", "planted%1", "planted\u200b", strings.Repeat("planted-", 9)} {
		path, query := url.PathEscape(planted), url.QueryEscape(planted)
		quoted, err := json.Marshal(planted)
		if err != nil {
			t.Fatal(err)
		}
		for _, req := range []struct{ method, path, body, location string }{
			{"POST", "/v1/resolutions", `{"appid":` + string(quoted) + `,"cloud_ids":["73_1"]}`, "body.appid"},
			{"POST", "/v1/resolutions", `{"appid":"wxA","cloud_ids":["73_1"],"webhook":` + string(quoted) + `}`, "body.webhook"},
			{"POST", "/v1/resolutions/lookup", `{"appid":` + string(quoted) + `,"cloud_ids":["73_1"]}`, "body.appid"},
			{"GET", "/v1/resolutions/" + path + "/73_1", "", "path.appid"},
			{"DELETE", "/v1/subjects/" + path + "/o1", "", "path.appid"},
			{"POST", "/v1/backfills?appid=" + query, `{"cloud_id":"73_1"}`, "query.appid"},
			{"POST", "/v1/backfills?appid=wxA&webhook=" + query, `{"cloud_id":"73_1"}`, "query.webhook"},
			{"GET", "/v1/deliveries?appid=" + query, "", "query.appid"},
			{"GET", "/v1/deliveries?endpoint=" + query, "", "query.endpoint"},
			{"POST", "/v1/webhooks/" + path + "/test", "", "path.name"},
			{"GET", "/v1/status?appid=" + query, "", "query.appid"},
			{"GET", "/?appid=" + query, "", "query.appid"},
		} {
			got := b.call(req.method, req.path, req.body, "Authorization", "Bearer "+admin)
			wantProblem(t, got, 422)
			if !strings.Contains(got.body, `"location":"`+req.location+`"`) || !strings.Contains(got.body, "1 to 64 letters, digits, - or _") {
				t.Errorf("%s %s: %s, want %s and what it must be", req.method, req.path, got.body, req.location)
			}
		}
	}
	for _, queue := range []string{tasks.QueueEvents, tasks.QueueBackfill} {
		if queued := b.queued(queue); len(queued) > 0 {
			t.Errorf("enqueued: %v", queued)
		}
	}
}

// The API description contains the rule of package tasks.
func TestNames_RuleIsInDescription(t *testing.T) {
	text := newFixture(t).call("GET", "/openapi.json", "").body
	optional := strings.Replace(tasks.NamePattern, "{1,", "{0,", 1)
	for pattern, n := range map[string]int{tasks.NamePattern: 10, optional: 1} {
		quoted, err := json.Marshal(pattern)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Count(text, `"pattern":`+string(quoted)); got != n {
			t.Errorf("%s is %d times in the description, want %d", pattern, got, n)
		}
	}
}
