package main

import (
	"encoding/hex"
	"encoding/json"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"cloudidq/internal/pgtest"
	"cloudidq/internal/wechat/wechattest"
	"cloudidq/tasks"
)

const plantedAPIKey = "planted-api-key-0123456789"

// submit posts cloudIDs to the API and returns the status.
func (s *site) submit(t *testing.T, taps []wechattest.Tap, header ...string) int {
	t.Helper()
	body := map[string]any{"appid": taps[0].AppID, "reference": "planted-reference"}
	var ids []string
	for _, tap := range taps {
		ids = append(ids, tap.CloudID)
	}
	body["openid"], body["cloud_ids"] = taps[0].OpenID, ids
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	return s.postAPI(t, "/v1/resolutions", "application/json", string(text), header...)
}

// postAPI posts a body to the API and returns the status.
func (s *site) postAPI(t *testing.T, path, kind, body string, header ...string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.apiURL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", kind)
	req.Header.Set("Authorization", "Bearer "+plantedAPIKey)
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

// traced returns a site whose processes export to a collector. It has an API with the given
// settings and an endpoint for results.
func traced(t *testing.T, sim wechattest.Config, dsn, api string) (*site, *collector, *receiver) {
	t.Helper()
	c := newCollector(t)
	s := newSite(t, sim)
	s.env = append(s.env, c.env()...)
	s.env = append(s.env, "CLOUDIDQ_API_LISTEN=127.0.0.1:0")
	s.dsn = dsn
	r := newReceiver(t, nil)
	r.listen()
	s.appSettings += ", webhook: orders"
	hook := strings.Replace(r.settings(""), "/hook'", "/planted-path?token=planted-query'", 1)
	s.configure(t, hook+"api: {keys: [{name: shop, secret: "+plantedAPIKey+", scopes: [resolve, read]}]"+api+"}\n")
	s.planted = append(s.planted, plantedAPIKey, "planted-", strings.TrimPrefix(hookSecret, "whsec_"))
	s.api(t)
	return s, c, r
}

// The path of one cloudID is one trace: from the request of a tracing client to the webhook
// request to its back end. The trace covers two processes, the queue, the outbox and the queue
// again.
func TestTrace_FromPostToWebhook(t *testing.T) {
	t.Parallel()
	t.Run("Redis", func(t *testing.T) { fromPostToWebhook(t, "") })
	t.Run("Postgres", func(t *testing.T) { fromPostToWebhook(t, pgtest.Database(t)) })
}

func fromPostToWebhook(t *testing.T, dsn string) {
	t.Parallel()
	s, c, r := traced(t, wechattest.Config{Seed: 41}, dsn, "")
	worker := s.worker(t)
	tap := s.twin(t).CloudID(appA, 1, 1, time.Now())
	const client = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	if status := s.submit(t, []wechattest.Tap{tap}, "Traceparent", client); status != http.StatusAccepted {
		t.Fatalf("POST = %d", status)
	}
	waitFor(t, "the webhook", func() bool { return r.arrived() == 1 })
	traceparent := strings.Split(r.traceparents()[0], "-")
	if len(traceparent) != 4 {
		t.Fatalf("the receiver got the traceparent %q", traceparent)
	}
	waitFor(t, "the span of the webhook", func() bool { return c.span(traceparent[2]) != nil })

	// From the receiver upwards, each span with its attributes.
	path := []struct {
		name, kind string
		attributes map[string]string
	}{
		{"POST", "CLIENT", map[string]string{"http.response.status_code": "200", "cloudidq.webhook.endpoint": "orders", "server.address": "127.0.0.1"}},
		{"process webhook:deliver", "CONSUMER", map[string]string{"messaging.system": "asynq", "messaging.operation.name": "process",
			"messaging.operation.type": "process", "messaging.destination.name": "webhooks", "cloudidq.attempt": "1",
			"cloudidq.webhook.results": "1", "cloudidq.task.result": "done"}},
		{"process cloudid:resolve", "CONSUMER", map[string]string{"messaging.system": "asynq", "messaging.operation.type": "process",
			"messaging.destination.name": "events", "cloudidq.appid": appA, "cloudidq.cloudids": "1", "cloudidq.resolved": "1"}},
		{"send cloudid:resolve", "PRODUCER", map[string]string{"messaging.system": "asynq", "messaging.operation.name": "send",
			"messaging.operation.type": "send", "messaging.destination.name": "events"}},
		{"POST /v1/resolutions", "SERVER", map[string]string{"http.request.method": "POST", "http.route": "/v1/resolutions",
			"http.response.status_code": "202"}},
	}
	id, ids := traceparent[2], map[string]string{} // by name
	for _, want := range path {
		waitFor(t, "the span "+want.name, func() bool { return c.span(id) != nil })
		span := c.span(id)
		if span.GetName() != want.name || span.GetKind() != tracepb.Span_SpanKind(tracepb.Span_SpanKind_value["SPAN_KIND_"+want.kind]) {
			t.Fatalf("span %q (%s), want %q (%s)", span.GetName(), span.GetKind(), want.name, want.kind)
		}
		for key, value := range want.attributes {
			if got := attribute(span, key); got != value {
				t.Errorf("%s: %s is %q, want %q", want.name, key, got, value)
			}
		}
		if got := hex.EncodeToString(span.GetTraceId()); got != client[3:35] {
			t.Errorf("%s belongs to trace %s, want the client's", want.name, got)
		}
		ids[want.name] = id
		id = hex.EncodeToString(span.GetParentSpanId())
	}
	if id != client[36:52] {
		t.Errorf("the root of the tree is below %s, want the client's span", id)
	}
	process := ids["process cloudid:resolve"]
	if sent, processed := attribute(c.span(ids["send cloudid:resolve"]), "messaging.message.id"), attribute(c.span(process), "messaging.message.id"); sent == "" || sent != processed {
		t.Errorf("task %q was sent and %q processed", sent, processed)
	}
	// The request of the attempt is below the attempt's span and also linked to it.
	request := c.named("POST /wxa/getopendata")
	if len(request) != 1 || hex.EncodeToString(request[0].GetParentSpanId()) != process || len(request[0].GetLinks()) != 1 ||
		hex.EncodeToString(request[0].GetLinks()[0].GetSpanId()) != process {
		t.Errorf("requests %v, want one that belongs to %s", request, process)
	}
	for key, want := range map[string]string{"cloudidq.wechat.class": "ok", "cloudidq.wechat.errcode": "0", "cloudidq.cloudids": "1",
		"cloudidq.attempt": "1", "url.template": "/wxa/getopendata"} {
		if got := attribute(request[0], key); got != want {
			t.Errorf("the request: %s is %q, want %q", key, got, want)
		}
	}
	driver := map[bool]string{true: "redis", false: "postgresql"}[dsn == ""]
	for _, name := range []string{"claim " + driver, "save " + driver, "fetch token stable"} {
		waitFor(t, "the span "+name, func() bool { return len(c.named(name)) > 0 })
		if span := c.named(name)[0]; hex.EncodeToString(span.GetParentSpanId()) != process {
			t.Errorf("%s is not below the attempt", name)
		}
	}
	if got := c.services(); !slices.Equal(got, []string{"cloudidq"}) {
		t.Errorf("services %q", got)
	}
	// The log contains the ids of trace and span.
	if said := worker.err.String(); !strings.Contains(said, `"trace_id":"`+client[3:35]+`","span_id":"`+process+`"`) {
		t.Errorf("the log of the attempt does not contain its span id")
	}
	waitFor(t, "metrics", func() bool {
		return c.has("cloudidq_cloudids_finished_total") && c.has("cloudidq_http_requests_total") && c.has("asynq_queue_size")
	})
}

// Calls that share a task are linked to it, and tasks that share a request are linked to the
// request, because none of them is the parent.
func TestTrace_LinksSharedWork(t *testing.T) {
	t.Parallel()
	s, c, _ := traced(t, wechattest.Config{Seed: 42}, "", ", commit_linger: 1s")
	config := strings.Replace(s.text(t), "group_by: app", "group_by: app, batch_linger: 1s", 1)
	s.write(t, config)
	twin := s.twin(t)
	var calls sync.WaitGroup
	for user := range 8 {
		calls.Go(func() { s.submit(t, []wechattest.Tap{twin.CloudID(appB, user, 1, time.Now())}) })
	}
	calls.Wait()
	// Tasks of the same app that arrive together share a request. On a busy machine the first two
	// may be further apart than the batch lingers, so more follow. Their producer does not trace.
	s.worker(t)
	mostLinks := func() (most int) {
		for _, span := range c.named("POST /wxa/getopendata") {
			most = max(most, len(span.GetLinks()))
		}
		return most
	}
	user := 100
	waitFor(t, "two tasks to share a request", func() bool {
		if mostLinks() >= 2 {
			return true
		}
		for range 2 {
			s.enqueue(t, []wechattest.Tap{twin.CloudID(appB, user, 1, time.Now())})
			user++
		}
		return false
	})
	waitFor(t, "the spans", func() bool {
		links := 0
		for _, span := range c.named("process cloudid:resolve") {
			links += len(span.GetLinks())
		}
		return len(c.named("send cloudid:resolve")) == 8 && links >= 2 // of the calls that share a task
	})
	sends := map[string]bool{}
	for _, span := range c.named("send cloudid:resolve") {
		sends[hex.EncodeToString(span.GetSpanId())] = true
	}
	for _, span := range c.named("process cloudid:resolve") {
		if len(span.GetLinks()) > 0 && len(span.GetParentSpanId()) > 0 {
			t.Error("a task of several calls has one of them as its parent")
		}
		for _, link := range span.GetLinks() {
			if !sends[hex.EncodeToString(link.GetSpanId())] {
				t.Error("an attempt is linked to a span that is not a call")
			}
		}
	}
	waitFor(t, "the attempts that the requests are linked to", func() bool { // attempts finish after their requests
		attempts := map[string]bool{}
		for _, span := range c.named("process cloudid:resolve") {
			attempts[hex.EncodeToString(span.GetSpanId())] = true
		}
		for _, span := range c.named("POST /wxa/getopendata") {
			for _, link := range span.GetLinks() {
				if !attempts[hex.EncodeToString(link.GetSpanId())] {
					return false
				}
			}
		}
		return true
	})
	for _, span := range c.named("POST /wxa/getopendata") {
		if len(span.GetLinks()) > 1 && len(span.GetParentSpanId()) > 0 {
			t.Error("a request for several tasks has one of them as its parent")
		}
	}
}

// After a run with all kinds of trouble, no log, metric, trace or page contains a private value.
func TestTelemetry_HoldsNothingPrivate(t *testing.T) {
	t.Parallel()
	s, c, r := traced(t, wechattest.Config{Seed: 43, Faults: wechattest.Faults{
		"busy": 0.1, "missing": 0.05, "reset": 0.05, "foreign": 0.1, "invalid": 0.05, "poison": 0.02, "watermark": 0.05, "token": 0.02,
	}}, "", "")
	r.answers(func(n int, w http.ResponseWriter) {
		if n%3 == 1 {
			http.Error(w, "planted-answer", http.StatusInternalServerError)
		}
	})
	worker := s.worker(t)
	twin := s.twin(t)
	var taps []wechattest.Tap
	for user := range 100 {
		mine := []wechattest.Tap{twin.CloudID(appA, user, 1, time.Now()), twin.CloudID(appA, user, 2, time.Now())}
		taps = append(taps, mine...)
		status := s.submit(t, mine, "Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "Tracestate", "planted-state=planted-state")
		if status != http.StatusAccepted {
			t.Fatalf("POST = %d", status)
		}
	}
	// Send requests with ids in their paths and bad requests, and enqueue an unreadable task.
	for _, path := range []string{"/v1/resolutions/" + appA + "/" + taps[0].CloudID, "/v1/subjects/" + appA + "/" + taps[0].OpenID,
		"/planted-path?token=planted-token"} {
		fetch(t, strings.TrimPrefix(s.apiURL, "http://"), path)
	}
	if p := s.start(t, "enqueue", "--config", s.config, "--appid", appA, "--openid", taps[0].OpenID, taps[0].CloudID); p.status(t) != 0 {
		t.Errorf("enqueue: %s", p.err.String())
	}
	waitFor(t, "the spans of all calls", func() bool { return len(c.named("send cloudid:resolve")) == 101 })
	file := `{"cloud_id":"` + taps[1].CloudID + `","openid":"` + taps[1].OpenID + `"}` + "\n" + `{"planted-field":"planted-13812345678"}`
	if status := s.postAPI(t, "/v1/backfills?appid="+appA, "application/x-ndjson", file); status != http.StatusAccepted {
		t.Errorf("POST /v1/backfills = %d", status)
	}
	s.enqueueTask(t, `{"v":1,"appid":"planted-13812345678`)
	waitFor(t, "all cloudIDs to finish", func() bool { _, finished := s.records(t, taps); return finished == len(taps) })
	waitFor(t, "some deliveries", func() bool { return r.arrived() > 0 })
	waitFor(t, "metrics", func() bool { return c.has("cloudidq_webhook_attempt_duration_seconds") && c.has("go_goroutines") })
	_, shown := fetch(t, worker.opsAddr(t), "/metrics")
	_, ofAPI := fetch(t, s.outputs[0].opsAddr(t), "/metrics")
	shown += ofAPI
	for _, p := range s.outputs {
		p.term(t)
	}
	for _, want := range []string{"process webhook:deliver", "process cloudid:resolve", "GET /v1/resolutions/{appid}/{cloud_id}", "STATUS_CODE_ERROR"} {
		if !strings.Contains(c.all(), want) {
			t.Errorf("the OTLP exports do not contain %q, so this test proves little", want)
		}
	}
	if !strings.Contains(shown, `errcode="-601007"`) || !strings.Contains(shown, `layer="call"`) ||
		!strings.Contains(shown, `cloudidq_cloudids_accepted_total{queue="backfill"} 1`) {
		t.Error("/metrics does not contain the outcomes, so this test proves little")
	}
	s.checkPrivate(t, taps)
	private := append([]string{tokA, "access_token=", "phoneNumber", "stepInfoList", "13812345678"}, s.planted...)
	for _, tap := range taps {
		private = append(private, tap.CloudID, tap.OpenID)
	}
	for what, text := range map[string]string{"OTLP": c.all(), "/metrics": shown} {
		if found := simToken.FindString(text); found != "" {
			t.Errorf("%s contains a token: %s", what, found)
		}
		for _, p := range private {
			if at := strings.Index(text, p); at >= 0 {
				t.Errorf("%s contains %q: …%s…", what, p, text[max(0, at-200):min(len(text),
					at+100)])
			}
		}
	}
}

// simToken matches the simulator's tokens. Span ids are bytes in OTLP. They may contain the
// first three characters by chance, but they are too short for the whole match.
var simToken = regexp.MustCompile(`80_[A-Za-z0-9_-]{16}`)

// enqueueTask enqueues a payload as an external producer might.
func (s *site) enqueueTask(t *testing.T, payload string) {
	t.Helper()
	client := asynq.NewClientFromRedisClient(s.redis.Client(t))
	task := asynq.NewTask(tasks.TypeResolve, []byte(payload))
	if _, err := client.EnqueueContext(t.Context(), task, asynq.Queue(tasks.QueueEvents)); err != nil {
		t.Fatal(err)
	}
}

// answers sets the answer to all further requests.
func (r *receiver) answers(answer func(int, http.ResponseWriter)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = answer
}

// traceparents returns the traceparents of the received requests, in order.
func (r *receiver) traceparents() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.traces)
}
