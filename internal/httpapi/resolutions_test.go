package httpapi_test

import (
	"strings"
	"testing"

	"cloudidq/store"
	"cloudidq/tasks"
)

type resolutionsBody struct {
	Resolutions []struct {
		store.Record
		URL string `json:"url"`
	} `json:"resolutions"`
}

func TestResolve_Enqueues(t *testing.T) {
	b := newFixture(t)
	got := b.call("POST", "/v1/resolutions", `{"appid":"wxA","openid":"o1","cloud_ids":["73_1","73_a/b","73_1"],"obtained_at":"2026-01-02T03:04:05Z","webhook":"orders","reference":"r"}`)
	want := `{"resolutions":[{"cloud_id":"73_1","status":"pending","url":"/v1/resolutions/wxA/73_1"},` +
		`{"cloud_id":"73_a/b","status":"pending","url":"/v1/resolutions/wxA/73_a%2Fb"}]}`
	if got.status != 202 || strings.TrimSpace(got.body) != want || got.header.Get("Content-Type") != "application/json" {
		t.Errorf("answer = %d %s, want %s", got.status, got.body, want)
	}
	queued := b.queued(tasks.QueueEvents)
	if len(queued) != 1 || len(queued[0].Items) != 2 || queued[0].Webhook != "orders" || queued[0].Items[1].CloudID != "73_a/b" ||
		queued[0].Items[0].OpenID != "o1" || queued[0].Items[0].Reference != "r" || queued[0].Items[0].ObtainedAt.Year() != 2026 {
		t.Errorf("queue = %+v", queued)
	}
	if got := b.call("POST", "/v1/resolutions", `{"appid":"wxA","cloud_ids":["73_2"],"queue":"backfill"}`); got.status != 202 || len(b.queued(tasks.QueueBackfill)) != 1 {
		t.Errorf("answer = %d %s", got.status, got.body)
	}
}

func TestResolve_Waits(t *testing.T) {
	b := newFixture(t)
	b.save("wxA", "73_1", "73_2")
	got := b.call("POST", "/v1/resolutions", `{"appid":"wxA","cloud_ids":["73_1","73_2"]}`, "Prefer", "respond-async, wait=20")
	body := parse[resolutionsBody](t, got.body)
	if got.status != 200 || len(body.Resolutions) != 2 || string(body.Resolutions[1].Data) != `{"a":9007199254740993}` ||
		body.Resolutions[1].Status != store.Resolved || body.Resolutions[1].URL == "" || body.Resolutions[1].AppID != "wxA" {
		t.Errorf("answer = %d %s, want the records", got.status, got.body)
	}
	got = b.call("POST", "/v1/resolutions", `{"appid":"wxA","cloud_ids":["73_1","73_open"]}`, "Prefer", "wait=1")
	if body := parse[resolutionsBody](t, got.body); got.status != 202 || body.Resolutions[0].Status != store.Resolved || body.Resolutions[1].Status != store.Pending {
		t.Errorf("answer = %d %s, want 202 when the wait is over", got.status, got.body)
	}
}

// Each invalid input gets a clear response that repeats nothing of the input. Nothing is enqueued.
func TestResolve_BadInput(t *testing.T) {
	b := newFixture(t)
	many := strings.Repeat(`"planted",`, 100) + `"planted"`
	for name, tt := range map[string]struct {
		body   string
		status int
		text   string // expected in the response
	}{
		"Empty":        {``, 400, "body"},
		"NotJSON":      {`planted`, 400, "body"},
		"Cut":          {`{"appid":"planted`, 400, "body"},
		"Array":        {`["planted"]`, 422, "body"},
		"Null":         {`null`, 422, "body"},
		"WrongType":    {`{"appid":7,"cloud_ids":["planted"]}`, 422, "body.appid"},
		"WrongItem":    {`{"appid":"wxA","cloud_ids":["planted",{"planted":1}]}`, 422, "body.cloud_ids[1]"},
		"UnknownField": {`{"appid":"wxA","cloud_ids":["x"],"planted":1}`, 422, "an unknown field"},
		"OtherCase":    {`{"AppID":"wxA","cloud_ids":["planted"]}`, 422, "an unknown field"},
		"TwoCases": {`{"appid":"wxA","AppID":"wxB","cloud_ids":["planted"]}`, 422,
			"an unknown field"},
		"NoAppID":        {`{"cloud_ids":["planted"]}`, 422, "appid"},
		"NoCloudIDs":     {`{"appid":"wxA"}`, 422, "cloud_ids"},
		"ZeroCloudIDs":   {`{"appid":"wxA","cloud_ids":[]}`, 422, "body.cloud_ids"},
		"Null CloudIDs":  {`{"appid":"wxA","cloud_ids":null}`, 422, "body.cloud_ids"},
		"TooMany":        {`{"appid":"wxA","cloud_ids":[` + many + `]}`, 422, "body.cloud_ids"},
		"EmptyCloudID":   {`{"appid":"wxA","cloud_ids":["x",""]}`, 422, "body.cloud_ids[1]"},
		"LongCloudID":    {`{"appid":"wxA","cloud_ids":["` + strings.Repeat("planted", 80) + `"]}`, 422, "body.cloud_ids[0]"},
		"ControlCloudID": {`{"appid":"wxA","cloud_ids":["planted\n"]}`, 422, "body.cloud_ids[0]"},
		"BrokenUTF8":     {"{\"appid\":\"wxA\",\"cloud_ids\":[\"x\"],\"reference\":\"planted\xff\"}", 400, "UTF-8"},
		"HalfSurrogate":  {`{"appid":"wxA","cloud_ids":["x","planted\ud800"]}`, 422, "body.cloud_ids[1]"},
		"Lost":           {`{"appid":"wxA","cloud_ids":["x"],"openid":"\udc00","reference":"planted\ufffd"}`, 422, "must not contain U+FFFD"},
		"Queue":          {`{"appid":"wxA","cloud_ids":["x"],"queue":"planted"}`, 422, "body.queue"},
		"Webhook":        {`{"appid":"wxA","cloud_ids":["x"],"webhook":"planted"}`, 422, "body.webhook"},
		"UnknownApp":     {`{"appid":"planted","cloud_ids":["x"]}`, 422, "body.appid"},
		"ObtainedAt":     {`{"appid":"wxA","cloud_ids":["x"],"obtained_at":"planted"}`, 422, "body.obtained_at"},
		"Future":         {`{"appid":"wxA","cloud_ids":["x"],"obtained_at":"2999-01-01T00:00:00Z"}`, 422, "body.obtained_at"},
		"TwoMegabytes":   {`{"appid":"wxA","cloud_ids":["` + strings.Repeat("planted ", 1<<18) + `"]}`, 413, "too large"},
		"Deep":           {strings.Repeat(`{"planted":`, 11000), 400, "body"},
		"Twice":          {`{"appid":"wxA","cloud_ids":["x"]}{"planted":1}`, 400, "body"},
	} {
		t.Run(name, func(t *testing.T) {
			got := b.call("POST", "/v1/resolutions", tt.body)
			wantProblem(t, got, tt.status)
			if !strings.Contains(got.body, tt.text) || strings.Contains(got.body, "planted") {
				t.Errorf("answer = %s, want %q and no submitted data", got.body, tt.text)
			}
		})
	}
	for name, header := range map[string][]string{
		"WaitTooLong": {"Prefer", "wait=31"},
		"Key":         {"Idempotency-Key", "plan\tted"},
	} {
		t.Run(name, func(t *testing.T) {
			wantProblem(t, b.call("POST", "/v1/resolutions", `{"appid":"wxA","cloud_ids":["x"]}`, header...), 400)
		})
	}
	if queued := b.queued(tasks.QueueEvents); len(queued) != 0 {
		t.Errorf("%d tasks are queued", len(queued))
	}
	if strings.Contains(b.log.String(), "planted") {
		t.Errorf("log = %s", b.log.String())
	}
}

func TestResolve_QueueFullOrDown(t *testing.T) {
	t.Parallel()
	b := newFixture(t)
	b.full.Store(true)
	got := b.call("POST", "/v1/resolutions", `{"appid":"wxA","cloud_ids":["x"]}`)
	wantProblem(t, got, 503)
	if got.header.Get("Retry-After") == "" || len(b.queued(tasks.QueueEvents)) != 0 {
		t.Errorf("header = %v", got.header)
	}
	b.full.Store(false)
	b.redis.Kill()
	for _, call := range [][3]string{
		{"POST", "/v1/resolutions", `{"appid":"wxA","cloud_ids":["x"]}`}, {"GET", "/v1/resolutions/wxA/x", ""},
		{"POST", "/v1/resolutions/lookup", `{"appid":"wxA","cloud_ids":["x"]}`}, {"DELETE", "/v1/subjects/wxA/o1", ""},
		{"GET", "/v1/deliveries", ""},
	} {
		got := b.call(call[0], call[1], call[2])
		wantProblem(t, got, 503)
		if got.header.Get("Retry-After") == "" {
			t.Errorf("%v: no Retry-After", call)
		}
	}
}

// An erasure for an app that is not configured is rejected. A response of "0 erased" would look
// like success.
func TestErase_AppIsNotServed_Refused(t *testing.T) {
	b := newFixture(t)
	b.save("wxC", "73_1") // data of an app that was configured before
	got := b.call("DELETE", "/v1/subjects/wxC/o1", "")
	wantProblem(t, got, 422)
	if !strings.Contains(got.body, "path.appid") || strings.Contains(got.body, "wxC") {
		t.Errorf("answer = %s, want the field and no submitted data", got.body)
	}
}

func TestRecords(t *testing.T) {
	b := newFixture(t)
	b.save("wxA", "73_1", "73_a/b+c")
	got := b.call("GET", "/v1/resolutions/wxA/73_a%2Fb%2Bc", "")
	if rec := parse[store.Record](t, got.body); got.status != 200 || rec.CloudID != "73_a/b+c" || string(rec.Data) != `{"a":9007199254740993}` {
		t.Errorf("answer = %d %s", got.status, got.body)
	}
	wantProblem(t, b.call("GET", "/v1/resolutions/wxA/73_unknown", ""), 404)
	got = b.call("POST", "/v1/resolutions/lookup", `{"appid":"wxA","cloud_ids":["73_unknown","73_1","73_1"]}`)
	if body := parse[struct{ Records []store.Record }](t, got.body); got.status != 200 || len(body.Records) != 1 || body.Records[0].CloudID != "73_1" {
		t.Errorf("answer = %d %s", got.status, got.body)
	}
	got = b.call("DELETE", "/v1/subjects/wxA/o1", "")
	if strings.TrimSpace(got.body) != `{"erased":2}` || got.status != 200 {
		t.Errorf("answer = %d %s", got.status, got.body)
	}
	if said := b.log.String(); !strings.Contains(said, "user erased") || strings.Contains(said, "o1") {
		t.Errorf("log = %s, want the audit line without the openid", said)
	}
	wantProblem(t, b.call("GET", "/v1/resolutions/wxA/73_1", ""), 404)
	got = b.call("POST", "/v1/resolutions/lookup", `{"appid":"wxA","cloud_ids":["73_1"]}`)
	if strings.TrimSpace(got.body) != `{"records":[]}` {
		t.Errorf("answer = %d %s, want an empty list", got.status, got.body)
	}
}
