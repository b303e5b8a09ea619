package httpapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"cloudidq/internal/httpapi"
	"cloudidq/internal/monitoring"
	"cloudidq/internal/redistest"
	"cloudidq/internal/secret"
	"cloudidq/internal/status"
	"cloudidq/internal/wechat/push"
	"cloudidq/store"
	"cloudidq/tasks"
)

const (
	admin  = "key-of-the-administrator"
	shopA  = "key-of-app-A-and-nothing-else"
	reader = "key-that-may-only-read"
)

// bed is the API over a real Redis.
type bed struct {
	*testing.T
	url        string
	log        *lockedBuffer
	redis      *redistest.Server
	rdb        *redis.Client
	results    *store.Redis
	lookups    atomic.Int64 // until the store fails; 0 = it does not
	backfills  *store.Backfills
	stop       func() // stops the server and waits
	deliveries *store.Deliveries
	full       atomic.Bool
	webhooks   *fakeWebhooks
	underWay   []status.BackfillStatus
	producer   *tasks.Client
	hold       atomic.Pointer[hold] // what a call of Resolve waits for, before it is made
}

// hold keeps a call from being made.
type hold struct{ come, let chan struct{} }

// Resolve is the real producer's, for which a test may let it wait.
func (b *bed) Resolve(ctx context.Context, req tasks.Request) (tasks.Receipt, error) {
	if h := b.hold.Load(); h != nil {
		close(h.come)
		<-h.let
	}
	return b.producer.Resolve(ctx, req)
}

// WriteChunk is the real producer's.
func (b *bed) WriteChunk(ctx context.Context, chunk tasks.Chunk) error {
	return b.producer.WriteChunk(ctx, chunk)
}

// High implements [httpapi.Load].
func (b *bed) High(context.Context, string) bool { return b.full.Load() }

// The store of the API is the real one, but for look-ups that fail when a test wants it.
func (b *bed) Claim(ctx context.Context, c store.Claim) ([]store.ClaimResult, error) {
	return b.results.Claim(ctx, c)
}

func (b *bed) Save(ctx context.Context, taskID string, records []store.Record) error {
	return b.results.Save(ctx, taskID, records)
}

func (b *bed) Erase(ctx context.Context, appID, openID string) (int, error) {
	return b.results.Erase(ctx, appID, openID)
}

func (b *bed) Lookup(ctx context.Context, appID string, ids []string) ([]store.Record, error) {
	if b.lookups.Load() > 0 && b.lookups.Add(-1) == 0 {
		return nil, errors.New("the store is away")
	}
	return b.results.Lookup(ctx, appID, ids)
}

type fakeWebhooks struct{ replayed []string }

func (w *fakeWebhooks) Replay(_ context.Context, id string) error {
	w.replayed = append(w.replayed, id)
	return nil
}

func (w *fakeWebhooks) Test(_ context.Context, name string) (store.Attempt, bool) {
	return store.Attempt{Status: 200, Class: "ok"}, name == "orders"
}

func newBed(t *testing.T, keys ...httpapi.Key) *bed {
	t.Helper()
	return newBedOf(t, []string{"wxA", "wxB"}, keys...)
}

// newBedOf is newBed with other apps on the status page.
func newBedOf(t *testing.T, apps []string, keys ...httpapi.Key) *bed {
	t.Helper()
	return newBedWith(t, apps, func(*httpapi.Server) {}, keys...)
}

// newBedWith changes the server before it runs.
func newBedWith(t *testing.T, apps []string, change func(*httpapi.Server), keys ...httpapi.Key) *bed {
	t.Helper()
	return startBed(t, apps, httpapi.Config{Keys: keys}, change)
}

// newBedOn is newBedWith for a server with other settings.
func newBedOn(t *testing.T, cfg httpapi.Config, change func(*httpapi.Server)) *bed {
	t.Helper()
	return startBed(t, []string{"wxA", "wxB"}, cfg, change)
}

func startBed(t *testing.T, apps []string, cfg httpapi.Config, change func(*httpapi.Server)) *bed {
	t.Helper()
	b := &bed{T: t, redis: redistest.Start(t), log: &lockedBuffer{}, webhooks: &fakeWebhooks{}}
	b.rdb = b.redis.Client(t)
	b.results, b.deliveries = store.NewRedis(b.rdb, time.Hour), store.NewDeliveries(b.rdb)
	b.backfills = store.NewBackfills(b.rdb, time.Hour)
	b.producer = tasks.NewClient(b.rdb, tasks.Options{})
	pages, err := monitoring.New(b.rdb)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Listen = "127.0.0.1:0"
	server, err := httpapi.New(cfg, httpapi.Parts{
		Producer: b, Results: b, Backfills: b.backfills, Deliveries: b.deliveries, Webhooks: b.webhooks, Load: b,
		Requests: store.NewRequests(b.rdb), Log: slog.New(slog.NewTextHandler(b.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Status: b.status(apps), Monitoring: pages,
		Platforms: map[string]httpapi.Platform{"wxc": &platform{event: push.Event{Type: push.Ticket, CreatedAt: time.Unix(1, 0)}}},
		Serves:    func(appID string) bool { return appID == "wxA" || appID == "wxB" },
		Webhook:   func(name string) bool { return name == "orders" },
	})
	if err != nil {
		t.Fatal(err)
	}
	change(server)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()
	<-server.Ready()
	b.url = "http://" + server.Addr()
	b.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run = %v", err)
		}
	})
	t.Cleanup(func() {
		b.stop()
		b.producer.Close()
		http.DefaultClient.CloseIdleConnections()
	})
	return b
}

func allKeys() []httpapi.Key {
	return []httpapi.Key{
		httpapi.NewKey("admin", secret.New(admin), httpapi.Scopes, nil),
		httpapi.NewKey("shop", secret.New(shopA), []httpapi.Scope{httpapi.ScopeResolve, httpapi.ScopeRead, httpapi.ScopeErase}, []string{"wxA"}),
		httpapi.NewKey("reader", secret.New(reader), []httpapi.Scope{httpapi.ScopeRead}, nil),
	}
}

// call makes a request; header is names and values in turn.
func (b *bed) call(method, path, body string, header ...string) reply {
	b.Helper()
	req, err := http.NewRequestWithContext(b.Context(), method, b.url+path, strings.NewReader(body))
	if err != nil {
		b.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		b.Fatal(err)
	}
	return reply{resp.StatusCode, resp.Header, string(text)}
}

// until waits for something to become true.
func (b *bed) until(what string, done func() bool) {
	b.Helper()
	for deadline := time.Now().Add(20 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.Fatalf("%s: not within 20 s", what)
		}
	}
}

// queued are the payloads in a queue.
func (b *bed) queued(queue string) []tasks.ResolvePayload {
	b.Helper()
	infos, err := asynq.NewInspectorFromRedisClient(b.rdb).ListPendingTasks(queue, asynq.PageSize(1000))
	if err != nil && !strings.Contains(err.Error(), "not found") {
		b.Fatal(err)
	}
	var payloads []tasks.ResolvePayload
	for _, info := range infos {
		p, err := tasks.ParseResolve(info.Payload)
		if err != nil {
			b.Fatal(err)
		}
		payloads = append(payloads, p)
	}
	return payloads
}

func (b *bed) save(appID string, ids ...string) {
	b.Helper()
	for _, id := range ids {
		rec := store.Record{
			AppID: appID, OpenID: "o1", CloudID: id, Status: store.Resolved, Kind: "werun", Data: json.RawMessage(`{"a":9007199254740993}`),
			Attempts: 1, AcceptedAt: store.At(time.Now()), FinishedAt: store.At(time.Now()),
		}
		if err := b.results.Save(b.Context(), "t", []store.Record{rec}); err != nil {
			b.Fatal(err)
		}
	}
}

type resolutionsBody struct {
	Resolutions []struct {
		store.Record
		URL string `json:"url"`
	} `json:"resolutions"`
}

func parse[T any](t *testing.T, text string) (v T) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("not JSON: %v: %s", err, text)
	}
	return v
}

func TestResolve_Enqueues(t *testing.T) {
	b := newBed(t)
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
	b := newBed(t)
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

// Each bad input gets a clear answer that repeats nothing of it, and nothing is enqueued.
func TestResolve_BadInput(t *testing.T) {
	b := newBed(t)
	many := strings.Repeat(`"planted",`, 100) + `"planted"`
	for name, tt := range map[string]struct {
		body   string
		status int
		text   string // in the answer
	}{
		"Empty":          {``, 400, "body"},
		"NotJSON":        {`planted`, 400, "body"},
		"Cut":            {`{"appid":"planted`, 400, "body"},
		"Array":          {`["planted"]`, 422, "body"},
		"Null":           {`null`, 422, "body"},
		"WrongType":      {`{"appid":7,"cloud_ids":["planted"]}`, 422, "body.appid"},
		"WrongItem":      {`{"appid":"wxA","cloud_ids":["planted",{"planted":1}]}`, 422, "body.cloud_ids[1]"},
		"UnknownField":   {`{"appid":"wxA","cloud_ids":["x"],"planted":1}`, 422, "a field that does not exist"},
		"NoAppID":        {`{"cloud_ids":["planted"]}`, 422, "appid"},
		"NoCloudIDs":     {`{"appid":"wxA"}`, 422, "cloud_ids"},
		"ZeroCloudIDs":   {`{"appid":"wxA","cloud_ids":[]}`, 422, "body.cloud_ids"},
		"Null CloudIDs":  {`{"appid":"wxA","cloud_ids":null}`, 422, "body.cloud_ids"},
		"TooMany":        {`{"appid":"wxA","cloud_ids":[` + many + `]}`, 422, "body.cloud_ids"},
		"EmptyCloudID":   {`{"appid":"wxA","cloud_ids":["x",""]}`, 422, "body.cloud_ids[1]"},
		"LongCloudID":    {`{"appid":"wxA","cloud_ids":["` + strings.Repeat("planted", 80) + `"]}`, 422, "body.cloud_ids[0]"},
		"ControlCloudID": {`{"appid":"wxA","cloud_ids":["planted\n"]}`, 422, "body.cloud_ids[0]"},
		"BrokenUTF8":     {"{\"appid\":\"wxA\",\"cloud_ids\":[\"x\"],\"reference\":\"planted\xff\"}", 400, "UTF-8"},
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
				t.Errorf("answer = %s, want %q and nothing that was submitted", got.body, tt.text)
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

func TestResolve_TheQueueIsFullOrAway(t *testing.T) {
	t.Parallel()
	b := newBed(t)
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

func TestRecords(t *testing.T) {
	b := newBed(t)
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
	if said := b.log.String(); !strings.Contains(said, "a person was erased") || strings.Contains(said, "o1") {
		t.Errorf("log = %s, want the audit line without the person", said)
	}
	wantProblem(t, b.call("GET", "/v1/resolutions/wxA/73_1", ""), 404)
	got = b.call("POST", "/v1/resolutions/lookup", `{"appid":"wxA","cloud_ids":["73_1"]}`)
	if strings.TrimSpace(got.body) != `{"records":[]}` {
		t.Errorf("answer = %d %s, want an empty list", got.status, got.body)
	}
}

func TestAuth(t *testing.T) {
	b := newBed(t, allKeys()...)
	b.save("wxA", "73_1")
	b.save("wxB", "73_1")
	resolveA, resolveB := `{"appid":"wxA","cloud_ids":["x"]}`, `{"appid":"wxB","cloud_ids":["x"]}`
	for name, tt := range map[string]struct {
		token, method, path, body string
		prefer                    string
		want                      int
	}{
		"NoKey":           {"", "GET", "/v1/resolutions/wxA/73_1", "", "", 401},
		"WrongKey":        {"planted", "GET", "/v1/resolutions/wxA/73_1", "", "", 401},
		"Admin":           {admin, "GET", "/v1/resolutions/wxB/73_1", "", "", 200},
		"OwnApp":          {shopA, "GET", "/v1/resolutions/wxA/73_1", "", "", 200},
		"OtherAppGet":     {shopA, "GET", "/v1/resolutions/wxB/73_1", "", "", 403},
		"OtherAppLookup":  {shopA, "POST", "/v1/resolutions/lookup", resolveB, "", 403},
		"OtherAppResolve": {shopA, "POST", "/v1/resolutions", resolveB, "", 403},
		"OtherAppWait":    {shopA, "POST", "/v1/resolutions", resolveB, "wait=5", 403},
		"OtherAppErase":   {shopA, "DELETE", "/v1/subjects/wxB/o1", "", "", 403},
		"OtherAppList":    {shopA, "GET", "/v1/deliveries?appid=wxB", "", "", 403},
		"ReaderResolves":  {reader, "POST", "/v1/resolutions", resolveA, "", 403},
		"ReaderErases":    {reader, "DELETE", "/v1/subjects/wxA/o1", "", "", 403},
		"ShopReplays":     {shopA, "POST", "/v1/deliveries/x/replay", "", "", 403},
		"ShopTests":       {shopA, "POST", "/v1/webhooks/orders/test", "", "", 403},
		"Description":     {"", "GET", "/openapi.yaml", "", "", 200},
		"NoRoute":         {"", "GET", "/planted", "", "", 401},
		"NoRouteWithKey":  {admin, "GET", "/planted", "", "", 404},
		"WrongMethod":     {admin, "PUT", "/v1/resolutions", "", "", 405},
	} {
		t.Run(name, func(t *testing.T) {
			header := []string{"Prefer", tt.prefer}
			if tt.token != "" {
				header = append(header, "Authorization", "Bearer "+tt.token)
			}
			got := b.call(tt.method, tt.path, tt.body, header...)
			if tt.want >= 400 {
				wantProblem(t, got, tt.want)
			} else if got.status != tt.want {
				t.Errorf("answer = %d %s, want %d", got.status, got.body, tt.want)
			}
			if strings.Contains(got.body, "planted") || tt.want == 401 && got.header.Get("WWW-Authenticate") == "" {
				t.Errorf("answer = %v %s", got.header, got.body)
			}
		})
	}
	if n := len(b.queued(tasks.QueueEvents)); n != 0 {
		t.Errorf("%d tasks are queued", n)
	}
	if rec, err := b.results.Lookup(t.Context(), "wxB", []string{"73_1"}); err != nil || rec[0].Status == "" {
		t.Errorf("app B's record = %+v, %v, want it there", rec, err)
	}
	// Who tries keys is stopped, whatever he tries then.
	for range 20 {
		b.call("GET", "/v1/deliveries", "", "Authorization", "Bearer guess")
	}
	got := b.call("GET", "/v1/deliveries", "", "Authorization", "Bearer guess")
	wantProblem(t, got, 429)
	if got.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
}

func TestDeliveries(t *testing.T) {
	b := newBed(t, allKeys()...)
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
