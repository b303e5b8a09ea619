package httpapi_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"cloudidq/internal/coord"
	"cloudidq/tasks"
)

func TestIdempotencyKey(t *testing.T) {
	b := newFixture(t, allKeys()...)
	post := func(token, key, id string) reply {
		return b.call("POST", "/v1/resolutions", `{"appid":"wxA","cloud_ids":["`+id+`"]}`, "Idempotency-Key", key, "Authorization", "Bearer "+token)
	}
	first := post(admin, `"k1"`, "73_1")
	again := post(admin, "k1", "73_1")
	if first.status != 202 || again.status != 202 || first.body != again.body || again.header.Get("Idempotency-Replayed") != "true" ||
		first.header.Get("Idempotency-Replayed") != "" {
		t.Errorf("answers = %+v and %+v", first, again)
	}
	if n := len(b.queued(tasks.QueueEvents)); n != 1 {
		t.Errorf("%d tasks, want one", n)
	}
	wantProblem(t, post(admin, "k1", "73_other"), 422)
	if got := post(shopA, "k1", "73_other"); got.status != 202 {
		t.Errorf("another client's key: %d %s", got.status, got.body)
	}
	// A request in progress: its repetition gets 409.
	requests := coord.NewRequests(b.rdb)
	for _, key := range b.rdb.Keys(t.Context(), "cloudidq:request:*").Val() {
		value := b.rdb.Get(t.Context(), key).Val()
		b.rdb.Set(t.Context(), key, strings.Fields(value)[0]+" 0", time.Minute)
	}
	got := post(admin, "k1", "73_1")
	wantProblem(t, got, 409)
	if got.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	// A rejected request leaves its key free.
	wantProblem(t, post(admin, "k2", ""), 422)
	if got := post(admin, "k2", "73_2"); got.status != 202 {
		t.Errorf("after a refusal: %d %s", got.status, got.body)
	}
	if state, err := requests.Claim(t.Context(), "new", "f"); err != nil || !state.Claimed {
		t.Errorf("Claim = %+v, %v", state, err)
	}
	for _, key := range b.rdb.Keys(t.Context(), "cloudidq:request:*").Val() {
		if strings.Contains(key+b.rdb.Get(t.Context(), key).Val(), "73_") || b.rdb.TTL(t.Context(), key).Val() <= 0 {
			t.Errorf("%s contains an id, or does not expire", key)
		}
	}
}

// An invalid key is rejected before anything is enqueued. A valid key is the same with and
// without quotes.
func TestIdempotencyKey_Form(t *testing.T) {
	t.Parallel()
	b := newFixture(t)
	post := func(path, key string) reply {
		body, kind := `{"appid":"wxA","cloud_ids":["73_1"]}`, "application/json"
		if path != "/v1/resolutions" {
			body, kind = bulk(1), "application/x-ndjson"
		}
		return b.call("POST", path, body, "Idempotency-Key", key, "Content-Type", kind)
	}
	long := strings.Repeat("planted-", 40)
	for _, path := range []string{"/v1/resolutions", "/v1/backfills?appid=wxA"} {
		for name, key := range map[string]string{
			"Long": long[:257], "QuotedLong": `"` + long[:257] + `"`, "VeryLong": strings.Repeat(long, 20),
			"Tab": "plan\tted", "Space": "plan ted",
			"Umlaut": "pl\u00e4nted", "NotUTF8": "planted\xff", "EmptyQuotes": `""`, "Quote": `"`,
		} {
			got := post(path, key)
			wantProblem(t, got, 400)
			if !strings.Contains(got.body, `"header.Idempotency-Key"`) {
				t.Errorf("%s: %s = %s", path, name, got.body)
			}
		}
		if queued := len(b.queued(tasks.QueueEvents)) + len(b.queued(tasks.QueueBackfill)); queued != 0 {
			t.Errorf("%s: %d tasks are queued", path, queued)
		}
		for i, key := range []string{long[:256], `"` + long[:256] + `"`, long[:256]} {
			got := post(path, key)
			if replayed := got.header.Get("Idempotency-Replayed") == "true"; got.status != 202 || replayed != (i > 0) {
				t.Errorf("%s: time %d = %d %v %s", path, i, got.status, got.header, got.body)
			}
		}
		b.rdb.FlushAll(t.Context())
	}
	if strings.Contains(b.log.String(), "planted") {
		t.Errorf("log = %s", b.log.String())
	}
}

// While a request is in progress, its repetition gets 409 and must be sent again later. Once the
// request was carried out, its repetition gets the same response, even if the first client has
// disconnected.
func TestIdempotencyKey_InProgress(t *testing.T) {
	t.Parallel()
	b := newFixture(t)
	const body = `{"appid":"wxA","cloud_ids":["73_1","73_2"]}`
	for name, leaves := range map[string]bool{"stays": false, "leaves": true} {
		g := &gate{arrived: make(chan struct{}), release: make(chan struct{})}
		b.gate.Store(g)
		ctx, leave := context.WithCancel(t.Context())
		defer leave()
		first := make(chan reply, 1)
		go func() {
			req, err := http.NewRequestWithContext(ctx, "POST", b.url+"/v1/resolutions", strings.NewReader(body))
			if err != nil {
				t.Error(err)
				return
			}
			req.Header.Set("Content-Type", "application/json")
			req.Header.Set("Idempotency-Key", name)
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				first <- reply{}
				return
			}
			_ = resp.Body.Close()
			first <- reply{status: resp.StatusCode}
		}()
		<-g.arrived
		got := b.call("POST", "/v1/resolutions", body, "Idempotency-Key", name)
		wantProblem(t, got, 409)
		if got.header.Get("Retry-After") == "" {
			t.Errorf("%s: no Retry-After", name)
		}
		wantProblem(t, b.call("POST", "/v1/resolutions", strings.Replace(body, "73_1", "73_3", 1), "Idempotency-Key", name), 422)
		b.gate.Store(nil)
		answered := strings.Count(b.log.String(), "route=/v1/resolutions ")
		if leaves {
			leave()
			<-first
		}
		close(g.release)
		b.until("the first request has finished", func() bool { return strings.Count(b.log.String(), "route=/v1/resolutions ") > answered })
		if !leaves {
			if got := <-first; got.status != 202 {
				t.Errorf("%s: the first = %d", name, got.status)
			}
		}
		got = b.call("POST", "/v1/resolutions", body, "Idempotency-Key", name)
		if got.status != 202 || got.header.Get("Idempotency-Replayed") != "true" || len(parse[resolutionsBody](t, got.body).Resolutions) != 2 {
			t.Errorf("%s: after its effect = %d %v %s", name, got.status, got.header, got.body)
		}
		if n := len(b.queued(tasks.QueueEvents)); n != 1 {
			t.Errorf("%s: %d tasks are queued, want one", name, n)
		}
		b.rdb.FlushAll(t.Context())
		b.rdb.SAdd(t.Context(), "asynq:queues", tasks.QueueEvents)
	}
}

// Of many concurrent repetitions, exactly one has an effect.
func TestIdempotencyKey_ManyAtOnce(t *testing.T) {
	t.Parallel()
	b := newFixture(t)
	const many = 30
	statuses := make(chan int, many)
	for range many {
		go func() {
			statuses <- b.call("POST", "/v1/resolutions", `{"appid":"wxA","cloud_ids":["73_1"]}`, "Idempotency-Key", "k").status
		}()
	}
	accepted := 0
	for range many {
		switch status := <-statuses; status {
		case 202:
			accepted++
		case 409:
		default:
			t.Errorf("answer = %d, want 202 or 409", status)
		}
	}
	if n := len(b.queued(tasks.QueueEvents)); n != 1 || accepted == 0 {
		t.Errorf("%d tasks are queued and %d requests accepted, want one", n, accepted)
	}
}

// A request that is rejected at the high-water mark has no effect, and its key stays free.
func TestIdempotencyKey_PastTheHighWaterMark(t *testing.T) {
	t.Parallel()
	b := newFixture(t)
	post := func(path string) reply {
		return b.call("POST", path, `{"appid":"wxA","cloud_ids":["73_1"]}`, "Idempotency-Key", "k")
	}
	b.full.Store(true)
	for _, path := range []string{"/v1/resolutions", "/v1/backfills?appid=wxA"} {
		got := post(path)
		wantProblem(t, got, 503)
		if got.header.Get("Retry-After") == "" {
			t.Errorf("%s: no Retry-After", path)
		}
	}
	b.full.Store(false)
	if got := post("/v1/resolutions"); got.status != 202 || got.header.Get("Idempotency-Replayed") != "" {
		t.Errorf("answer = %d %v %s", got.status, got.header, got.body)
	}
}

// Invalid input of a look-up is rejected.
func TestLookup_BadInput(t *testing.T) {
	t.Parallel()
	b := newFixture(t)
	for name, tt := range map[string]struct {
		body   string
		status int
	}{
		"Empty":        {``, 400},
		"Array":        {`["planted"]`, 422},
		"WrongType":    {`{"appid":["planted"],"cloud_ids":"planted"}`, 422},
		"UnknownField": {`{"appid":"wxA","cloud_ids":["x"],"planted":1}`, 422},
		"NoCloudIDs":   {`{"appid":"wxA","cloud_ids":[]}`, 422},
		"TooMany":      {`{"appid":"wxA","cloud_ids":["planted"` + strings.Repeat(`,"planted"`, 100) + `]}`, 422},
		"BrokenUTF8":   {"{\"appid\":\"wxA\",\"cloud_ids\":[\"planted\xff\"]}", 400},
		"TwoMegabytes": {`{"appid":"wxA","cloud_ids":["` + strings.Repeat("planted ", 1<<18) + `"]}`, 413},
	} {
		t.Run(name, func(t *testing.T) { wantProblem(t, b.call("POST", "/v1/resolutions/lookup", tt.body), tt.status) })
	}
}
