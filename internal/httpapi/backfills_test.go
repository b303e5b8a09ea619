package httpapi_test

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cloudidq/internal/backfill"
	"cloudidq/store"
	"cloudidq/tasks"
)

type acceptedBody struct {
	ID, URL            string
	Accepted, Rejected int
}

// bulk returns n valid lines of a body.
func bulk(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `{"cloud_id":"73_%d","openid":"o%d","reference":"line %05d"}`+"\n", i, i, i+1)
	}
	return b.String()
}

// wantQueued checks that the queue contains exactly the references of bulk(n).
func (b *fixture) wantQueued(n int) {
	b.Helper()
	want, got := make([]string, n), []string{}
	for i := range want {
		want[i] = fmt.Sprintf("line %05d", i+1)
	}
	for _, p := range b.queued(tasks.QueueBackfill) {
		for _, it := range p.Items {
			got = append(got, it.Reference)
		}
	}
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		b.Errorf("queued lines (-want +got):\n%s", diff)
	}
}

func (b *fixture) counts(id string) backfill.Backfill {
	b.Helper()
	got := b.call("GET", "/v1/backfills/"+id, "", "Authorization", "Bearer "+admin)
	if got.status != 200 {
		b.Fatalf("answer = %d %s", got.status, got.body)
	}
	return parse[backfill.Backfill](b.T, got.body)
}

func TestBackfill_Upload(t *testing.T) {
	b := newFixture(t)
	body := "\ufeff" + bulk(250) + "\r\n" + `{"cloud_id":17}` + "\n" + `{"cloud_id":"x","planted":1}`
	got := b.call("POST", "/v1/backfills?appid=wxA&webhook=orders", body, "Content-Type", "application/x-ndjson")
	in := parse[acceptedBody](t, got.body)
	if got.status != 202 || in.Accepted != 250 || in.Rejected != 2 || in.URL != "/v1/backfills/"+in.ID || got.header.Get("Location") != in.URL ||
		got.header.Get("Content-Type") != "application/json" {
		t.Fatalf("answer = %d %v %s", got.status, got.header, got.body)
	}
	b.wantQueued(250)
	for _, p := range b.queued(tasks.QueueBackfill) {
		if p.AppID != "wxA" || p.Webhook != "orders" || p.Backfill != in.ID {
			t.Errorf("payload = %+v", p)
		}
	}
	bf := b.counts(in.ID)
	if bf.State != backfill.Complete || bf.Lines != 253 || bf.Accepted != 250 || bf.Pending != 250 ||
		bf.Rejected != 2 || bf.AppID != "wxA" || bf.ID != in.ID {
		t.Errorf("counts = %+v", bf)
	}
	rejects := b.call("GET", in.URL+"/rejects", "")
	want := `{"line":252,"error":"cloud_id must be a string"}` + "\n" + `{"line":253,"error":"has an unknown field; cloud_id, openid, obtained_at and reference are known"}` + "\n"
	if rejects.status != 200 || rejects.body != want || rejects.header.Get("Content-Type") != "application/x-ndjson" {
		t.Errorf("rejects = %d %s", rejects.status, rejects.body)
	}
	if empty := b.call("POST", "/v1/backfills?appid=wxA", ""); empty.status != 202 || parse[acceptedBody](t, empty.body).Accepted != 0 {
		t.Errorf("an empty body = %d %s", empty.status, empty.body)
	}
	if said := b.log.String(); !strings.Contains(said, "backfill loaded") ||
		strings.Contains(said, "73_") || strings.Contains(said, "planted") {
		t.Errorf("log = %s", said)
	}
}

func TestBackfill_BadRequests(t *testing.T) {
	b := newFixture(t)
	for name, tt := range map[string]struct {
		query  string
		header []string
		status int
		text   string
	}{
		"NoApp":      {"", nil, 422, "query.appid"},
		"UnknownApp": {"appid=planted", nil, 422, "query.appid"},
		"Parameter":  {"appid=wxA&planted=planted", nil, 422, "unknown parameter"},
		"AppTwice":   {"appid=wxA&appid=wxB", nil, 422, "query.appid"},
		"Webhook":    {"appid=wxA&webhook=planted", nil, 422, "query.webhook"},
		"Key":        {"appid=wxA", []string{"Idempotency-Key", "plan\tted"}, 400, "header.Idempotency-Key"},
		"KeyResume":  {"appid=wxA&resume=bf_x", []string{"Idempotency-Key", "k"}, 422, "query.resume"},
		"Resume":     {"appid=wxA&resume=planted", nil, 404, "no such backfill"},
		"Gzip":       {"appid=wxA", []string{"Content-Encoding", "gzip"}, 415, "compressed"},
		"CSV":        {"appid=wxA", []string{"Content-Type", "text/csv; charset=utf-8"}, 415, "NDJSON"},
		"Form":       {"appid=wxA", []string{"Content-Type", "multipart/form-data; boundary=x"}, 415, "NDJSON"},
	} {
		t.Run(name, func(t *testing.T) {
			got := b.call("POST", "/v1/backfills?"+tt.query, bulk(3), tt.header...)
			wantProblem(t, got, tt.status)
			if !strings.Contains(got.body, tt.text) {
				t.Errorf("answer = %s, want %q", got.body, tt.text)
			}
		})
	}
	b.full.Store(true)
	got := b.call("POST", "/v1/backfills?appid=wxA", bulk(3))
	wantProblem(t, got, 503)
	if got.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	b.full.Store(false)
	for _, call := range [][2]string{
		{"GET", "/v1/backfills/planted"}, {"DELETE", "/v1/backfills/planted"}, {"GET", "/v1/backfills/planted/events"},
		{"GET", "/v1/backfills/planted/results"}, {"GET", "/v1/backfills/" + backfill.NewID() + "/rejects"},
	} {
		wantProblem(t, b.call(call[0], call[1], ""), 404)
	}
	if keys := b.rdb.Keys(t.Context(), "*").Val(); len(keys) != 0 {
		t.Errorf("keys = %v, want nothing", keys)
	}
	in := parse[acceptedBody](t, b.call("POST", "/v1/backfills?appid=wxA", bulk(1)).body)
	wantProblem(t, b.call("GET", in.URL+"/results?format=planted", ""), 422)
	wantProblem(t, b.call("GET", in.URL+"/results?planted=csv", ""), 422)
	b.redis.Kill()
	for _, call := range [][2]string{{"POST", "/v1/backfills?appid=wxA"}, {"GET", in.URL + "/results"}} {
		got := b.call(call[0], call[1], "")
		wantProblem(t, got, 503)
		if got.header.Get("Retry-After") == "" {
			t.Errorf("%v: no Retry-After", call)
		}
	}
}

func TestBackfill_Auth(t *testing.T) {
	b := newFixture(t, allKeys()...)
	post := func(app string) string {
		return parse[acceptedBody](t, b.call("POST", "/v1/backfills?appid="+app, bulk(2), "Authorization", "Bearer "+admin).body).URL
	}
	urlA, urlB := post("wxA"), post("wxB")
	idB := strings.TrimPrefix(urlB, "/v1/backfills/")
	for name, tt := range map[string]struct {
		token, method, path string
		want                int
	}{
		"NoKey":           {"", "GET", urlA, 401},
		"NoKeyPost":       {"", "POST", "/v1/backfills?appid=wxA", 401},
		"OwnApp":          {shopA, "GET", urlA, 200},
		"OtherApp":        {shopA, "GET", urlB, 404},
		"OtherAppEvents":  {shopA, "GET", urlB + "/events", 404},
		"OtherAppResults": {shopA, "GET", urlB + "/results", 404},
		"OtherAppRejects": {shopA, "GET", urlB + "/rejects", 404},
		"OtherAppCancel":  {shopA, "DELETE", urlB, 404},
		"OtherAppPost":    {shopA, "POST", "/v1/backfills?appid=wxB", 403},
		"OtherAppResume":  {shopA, "POST", "/v1/backfills?appid=wxA&resume=" + idB, 404},
		"ResumeAsOther":   {admin, "POST", "/v1/backfills?appid=wxA&resume=" + idB, 404},
		"ReaderReads":     {reader, "GET", urlB + "/results", 200},
		"ReaderPosts":     {reader, "POST", "/v1/backfills?appid=wxA", 403},
		"ReaderCancels":   {reader, "DELETE", urlA, 403},
		"ShopCancels":     {shopA, "DELETE", urlA, 200},
		"AdminCancels":    {admin, "DELETE", urlB, 200},
	} {
		t.Run(name, func(t *testing.T) {
			got := b.call(tt.method, tt.path, "", "Authorization", "Bearer "+tt.token)
			if tt.want >= 400 {
				wantProblem(t, got, tt.want)
			} else if got.status != tt.want {
				t.Errorf("answer = %d %s, want %d", got.status, got.body, tt.want)
			}
		})
	}
}

func TestBackfill_IdempotencyKey(t *testing.T) {
	b := newFixture(t, allKeys()...)
	post := func(token, app, body string) reply {
		return b.call("POST", "/v1/backfills?appid="+app, body, "Idempotency-Key", `"k1"`, "Authorization", "Bearer "+token)
	}
	first, again := post(admin, "wxA", bulk(120)), post(admin, "wxA", bulk(120))
	if first.status != 202 || again.status != 202 || first.body != again.body || first.header.Get("Idempotency-Replayed") != "" || again.header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("answers = %+v and %+v", first, again)
	}
	b.wantQueued(120)
	for name, tt := range map[string]struct{ app, body, text string }{
		"OtherBody": {"wxA", strings.Replace(bulk(120), "o7", "o8", 1), "the input has changed"},
		"Shorter":   {"wxA", bulk(119), "the input has changed"},
		"Longer":    {"wxA", bulk(121), "complete with 120 lines"},
		"OtherApp":  {"wxB", bulk(120), "header.Idempotency-Key"},
	} {
		t.Run(name, func(t *testing.T) {
			got := post(admin, tt.app, tt.body)
			wantProblem(t, got, 422)
			if !strings.Contains(got.body, tt.text) {
				t.Errorf("answer = %s, want %q", got.body, tt.text)
			}
		})
	}
	b.wantQueued(120)
	if other := post(shopA, "wxA", bulk(1)); other.status != 202 || parse[acceptedBody](t, other.body).Accepted != 1 {
		t.Errorf("another client's key: %d %s", other.status, other.body)
	}
	id := parse[acceptedBody](t, first.body).ID
	b.call("DELETE", "/v1/backfills/"+id, "", "Authorization", "Bearer "+admin)
	wantProblem(t, post(admin, "wxA", bulk(120)), 409)
	wantProblem(t, b.call("POST", "/v1/backfills?appid=wxA&resume="+id, "", "Authorization", "Bearer "+admin), 409)
	for _, key := range b.rdb.Keys(t.Context(), "cloudidq:*").Val() {
		if strings.Contains(key, "k1") {
			t.Errorf("%s contains the client's key", key)
		}
	}
}

func TestBackfill_Results(t *testing.T) {
	b := newFixture(t)
	in := parse[acceptedBody](t, b.call("POST", "/v1/backfills?appid=wxA", bulk(2500)).body)
	got := b.call("GET", in.URL+"/results", "")
	if got.status != 200 || got.body != "" || got.header.Get("Content-Type") != "application/x-ndjson" {
		t.Errorf("before the first final status: %d %s", got.status, got.body)
	}
	b.save("wxA", "73_2", "73_2499", "73_7")
	got = b.call("GET", in.URL+"/results", "")
	var ids []string
	for line := range strings.Lines(got.body) {
		ids = append(ids, parse[store.Record](t, line).CloudID)
	}
	if diff := cmp.Diff([]string{"73_2", "73_7", "73_2499"}, ids); diff != "" {
		t.Errorf("NDJSON (-want +got):\n%s", diff)
	}
	got = b.call("GET", in.URL+"/results?format=csv", "")
	rows, err := csv.NewReader(strings.NewReader(got.body)).ReadAll()
	if err != nil || len(rows) != 4 || rows[3][2] != "73_2499" || !strings.HasPrefix(got.header.Get("Content-Type"), "text/csv") {
		t.Errorf("CSV = %v, %v", rows, err)
	}
	// If the store fails before the first byte, the response is a problem. After that, the
	// connection breaks off.
	b.lookups.Store(1)
	wantProblem(t, b.call("GET", in.URL+"/results", ""), 503)
	b.lookups.Store(3)
	req, err := http.NewRequestWithContext(t.Context(), "GET", b.url+in.URL+"/results", nil)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{} // a new connection, because a request on a reused one would be retried
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(req)
	if err == nil {
		_, err = io.ReadAll(resp.Body)
		_ = resp.Body.Close()
	}
	if !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		t.Errorf("a download interrupted in the middle = %v", err)
	}
	for _, path := range []string{"/results", "/rejects", "/events"} {
		if head := b.call("HEAD", in.URL+path, ""); head.status != 200 {
			t.Errorf("HEAD %s = %d", path, head.status)
		}
	}
}

func TestBackfill_Cancel(t *testing.T) {
	b := newFixture(t)
	in := parse[acceptedBody](t, b.call("POST", "/v1/backfills?appid=wxA", bulk(5)).body)
	for range 2 {
		got := b.call("DELETE", in.URL, "")
		if bf := parse[backfill.Backfill](t, got.body); got.status != 200 ||
			bf.State != backfill.Canceled || bf.Pending != 5 {
			t.Errorf("answer = %d %s", got.status, got.body)
		}
	}
	body, id, answered := b.begin("k", bulk(5), 5)
	b.call("DELETE", "/v1/backfills/"+id, "")
	go func() { _, _ = io.WriteString(body, bulk(5)); _ = body.Close() }()
	wantProblem(t, <-answered, 409)
}
