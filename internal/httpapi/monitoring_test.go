package httpapi_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"cloudidq/internal/backfill"
	"cloudidq/internal/httpapi"
	"cloudidq/internal/secret"
	"cloudidq/store"
	"cloudidq/tasks"
)

// enqueue enqueues a task whose cloudID was obtained the given time ago, and returns the task's id.
func enqueue(t *testing.T, rdb redis.UniversalClient, appID string, age time.Duration, options ...asynq.Option) string {
	t.Helper()
	task, err := tasks.NewResolveTask(tasks.ResolvePayload{
		AppID: appID, AcceptedAt: time.Now(), Webhook: "orders",
		Items: []tasks.Item{{CloudID: "73_planted_cloudid", OpenID: "oplanted_openid", ObtainedAt: time.Now().Add(-age), Reference: "planted reference"}},
	}, tasks.QueueEvents)
	if err != nil {
		t.Fatal(err)
	}
	info, err := asynq.NewClientFromRedisClient(rdb).EnqueueContext(t.Context(), task, options...)
	if err != nil {
		t.Fatal(err)
	}
	return info.ID
}

// queueFixture is a fixture with a task in every state. The active task stays active until the test
// ends.
type queueFixture struct {
	*fixture
	retry, archived string      // ids
	handled         chan string // ids of the tasks that work has processed
}

// newQueueFixture runs a worker until there is a task in every state.
func newQueueFixture(t *testing.T) *queueFixture {
	t.Helper()
	b := &queueFixture{fixture: newFixture(t, withResolver()...), handled: make(chan string, 100)}
	b.retry = enqueue(t, b.rdb, "wxRetry", time.Minute)
	b.archived = enqueue(t, b.rdb, "wxArchived", time.Minute)
	completed := enqueue(t, b.rdb, "wxCompleted", time.Minute, asynq.Retention(time.Hour))
	active, release := enqueue(t, b.rdb, "wxActive", time.Minute), make(chan struct{})
	begun := make(chan string, 4)
	server := asynq.NewServerFromRedisClient(b.rdb, asynq.Config{
		Concurrency: 4, Queues: map[string]int{tasks.QueueEvents: 1}, LogLevel: asynq.FatalLevel,
		TaskCheckInterval: 10 * time.Millisecond, ShutdownTimeout: time.Millisecond,
		RetryDelayFunc: func(int, error, *asynq.Task) time.Duration { return time.Hour },
	})
	if err := server.Start(asynq.HandlerFunc(func(ctx context.Context, task *asynq.Task) error {
		id, _ := asynq.GetTaskID(ctx)
		defer func() { begun <- id }()
		switch id {
		case b.retry:
			return errors.New("open cloudIDs: 1; another worker says oplanted_1A2b3C4d5E6f7G8h9I0j")
		case b.archived:
			return fmt.Errorf("no data for 73_planted_cloudid1: %w", asynq.SkipRetry)
		case completed:
			_, err := task.ResultWriter().Write([]byte(`{"phoneNumber":"planted number"}`))
			return err
		case active:
			begun <- id
			<-release
		}
		return nil
	})); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { close(release); server.Shutdown() })
	for range 4 {
		<-begun
	}
	server.Stop()
	enqueue(t, b.rdb, "wxPending", 2*time.Minute)
	enqueue(t, b.rdb, "wxScheduled", time.Minute, asynq.ProcessIn(time.Hour))
	return b
}

// state returns the state of a task, or "" if the task does not exist.
func (b *queueFixture) state(id string) string {
	info, err := asynq.NewInspectorFromRedisClient(b.rdb).GetTaskInfo(tasks.QueueEvents, id)
	if err != nil {
		return ""
	}
	return info.State.String()
}

// No route of asynqmon shows any content of a task.
func TestMonitoring_ShowsNoPayload(t *testing.T) {
	b := newQueueFixture(t)
	routes := []string{"queues", "queues/events", "queue_stats", "servers", "scheduler_entries", "redis_info", "queues/events/groups"}
	for _, state := range []string{"active", "pending", "scheduled", "retry", "archived", "completed"} {
		routes = append(routes, "queues/events/"+state+"_tasks")
	}
	for _, id := range []string{b.retry, b.archived} {
		routes = append(routes, "queues/events/tasks/"+id)
	}
	var all strings.Builder
	for _, route := range routes {
		got := b.call("GET", "/monitoring/api/"+route, "", basic(reader)...)
		if got.status != 200 || got.header.Get("Content-Type") != "application/json" || got.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s = %d %v %s", route, got.status, got.header, got.body)
		}
		if at := strings.Index(got.body, "planted"); at >= 0 {
			t.Errorf("%s shows …%s…", route, got.body[max(0, at-100):min(len(got.body), at+50)])
		}
		all.WriteString(got.body)
	}
	// The permitted summary is shown.
	for _, want := range []string{
		`{\"appid\":\"wxRetry\",\"cloudids\":1,\"webhook\":\"orders\",\"redacted\":true}`, `wxActive`, `wxPending`, `wxScheduled`, `wxCompleted`, `wxArchived`,
		"another worker says [redacted]", "redacted, 32 bytes", b.retry,
	} {
		if !strings.Contains(all.String(), want) {
			t.Errorf("%q is not shown", want)
		}
	}
}

// Only a key with scope admin can make changes. The log names the key.
func TestMonitoring_Changes(t *testing.T) {
	b := newQueueFixture(t)
	change := "/monitoring/api/queues/events/retry_tasks/" + b.retry + ":run"
	for _, key := range []string{reader, resolveOnly, shopA} {
		wantProblem(t, b.call("POST", change, "", basic(key)...), 403)
	}
	wantProblem(t, b.call("POST", change, ""), 401)
	if got := b.state(b.retry); got != "retry" {
		t.Fatalf("the task is %s", got)
	}
	if strings.Contains(b.log.String(), "by an operator") {
		t.Errorf("log = %s", b.log)
	}
	if got := b.call("POST", change, "", basic(admin)...); got.status != 204 || b.state(b.retry) != "pending" {
		t.Errorf("run = %d %s, the task is %s", got.status, got.body, b.state(b.retry))
	}
	if got := b.call("POST", "/monitoring/api/queues/events:pause", "", basic(admin)...); got.status != 204 {
		t.Errorf("pause = %d %s", got.status, got.body)
	}
	if got := b.call("DELETE", "/monitoring/api/queues/events/archived_tasks/"+b.archived, "", basic(admin)...); got.status/100 != 2 || b.state(b.archived) != "" {
		t.Errorf("delete = %d %s", got.status, got.body)
	}
	for _, want := range []string{`queue=events action=retry_tasks:run key=admin`, `queue=events action=:pause key=admin`, `queue=events action=archived_tasks:DELETE key=admin`} {
		if !strings.Contains(b.log.String(), want) {
			t.Errorf("log = %s, want %s", b.log, want)
		}
	}
	if strings.Contains(b.log.String(), b.retry) {
		t.Error("the log names the task")
	}
}

// A key for some apps cannot see the queues, which hold tasks of all apps.
func TestMonitoring_KeyOfOneApp(t *testing.T) {
	b := newQueueFixture(t)
	for _, path := range []string{"/monitoring/", "/monitoring/api/queues", "/monitoring/api/queues/events/retry_tasks", "/monitoring/static/js/x.js"} {
		wantProblem(t, b.call("GET", path, "", basic(shopA)...), 403)
	}
}

func TestMonitoring_Headers(t *testing.T) {
	b := newFixture(t)
	got := b.call("GET", "/monitoring/queues/events/tasks?status=retry", "")
	policy := got.header.Get("Content-Security-Policy")
	if got.status != 200 || strings.Contains(got.body, "googleapis") || !strings.Contains(got.body, "/monitoring/static/js/") {
		t.Errorf("page = %d %s", got.status, got.body)
	}
	if !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "unsafe-eval") || strings.Count(policy, "'sha256-") != 2 ||
		strings.Contains(strings.Split(policy, "style-src")[0], "unsafe-inline") {
		t.Errorf("policy = %s", policy)
	}
	if got := b.call("GET", "/monitoring", ""); got.status != 200 { // after a redirect
		t.Errorf("/monitoring = %d", got.status)
	}
}

// A page of another origin cannot use a browser's stored key to change anything.
func TestCrossOrigin_Refused(t *testing.T) {
	b := newFixture(t, allKeys()...)
	for _, header := range [][]string{{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "https://evil.example"}, {"Origin", "null"}} {
		for _, tc := range [][2]string{
			{"POST", "/monitoring/api/queues/events:pause"}, {"DELETE", "/monitoring/api/queues/events"},
			{"POST", "/v1/deliveries/msg_1/replay"}, {"DELETE", "/v1/subjects/wxA/o1"},
		} {
			wantProblem(t, b.call(tc[0], tc[1], "", append(basic(admin), header...)...), 403)
		}
	}
	if got := b.call("DELETE", "/v1/subjects/wxA/o1", "", append(basic(admin), "Sec-Fetch-Site", "same-origin")...); got.status != 200 {
		t.Errorf("from the same origin = %d %s", got.status, got.body)
	}
}

const resolveOnly = "key-that-may-only-resolve"

// withResolver returns allKeys and a key that has only scope resolve.
func withResolver() []httpapi.Key {
	return append(allKeys(), httpapi.NewKey("resolver", secret.New(resolveOnly), []httpapi.Scope{httpapi.ScopeResolve}, nil))
}

// basic returns the headers of a Basic authentication with a key.
func basic(key string) []string {
	return []string{"Authorization", "Basic " + base64.StdEncoding.EncodeToString([]byte("anybody:"+key))}
}

// queuedOf enqueues a task with n cloudIDs under an id.
func queuedOf(
	t *testing.T, b *fixture, queue, id string, n int, options ...asynq.Option,
) (cloudIDs []string) {
	t.Helper()
	p := tasks.ResolvePayload{AppID: "wxA", AcceptedAt: time.Now()}
	if backfill, _, ok := tasks.ParseChunkTaskID(id); ok {
		p.Backfill = backfill
	}
	for i := range n {
		cloudIDs = append(cloudIDs, fmt.Sprintf("73_%s_%d", id, i))
		p.Items = append(p.Items, tasks.Item{CloudID: cloudIDs[i], OpenID: "o1"})
	}
	task, err := tasks.NewResolveTask(p, queue)
	if err == nil {
		_, err = asynq.NewClientFromRedisClient(b.rdb).Enqueue(task, append(options, asynq.TaskID(id), asynq.Queue(queue))...)
	}
	if err != nil {
		t.Fatal(err)
	}
	return cloudIDs
}

// If a task is deleted on the pages, in any way, its pending cloudIDs get a final status. Each
// has a record with the reason, a delivery, and a count in the backfill. The response says how
// many cloudIDs were affected.
func TestMonitoring_DeletedTasks_EndTheirCloudIDs(t *testing.T) {
	b := newFixture(t, allKeys()...)
	of, err := b.backfills.Create(t.Context(), backfill.Backfill{ID: backfill.NewID(), AppID: "wxA", Format: "ndjson"})
	if err != nil {
		t.Fatal(err)
	}
	chunk := tasks.ChunkTaskID(of.Backfill.ID, 0)
	var all []string
	queued := func(queue, id string, n int, options ...asynq.Option) {
		all = append(all, queuedOf(t, b, queue, id, n, options...)...)
	}
	queued(tasks.QueueBackfill, chunk, 3)
	window := &backfill.Window{To: 3, Digest: "d", Checked: time.Now(), Chunks: [][]string{all}, Accepted: 3}
	if _, _, err := b.backfills.Begin(t.Context(), &of, window); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(b.backfills.Commit(t.Context(), &of, window), b.backfills.Complete(t.Context(), &of)); err != nil {
		t.Fatal(err)
	}
	queued(tasks.QueueEvents, "one", 2)
	for i := range 5 {
		queued(tasks.QueueEvents, fmt.Sprint("scheduled", i), 1, asynq.ProcessIn(time.Hour))
		queued(tasks.QueueEvents, fmt.Sprint("grouped", i), 1, asynq.Group("g"))
	}
	for i := range 230 { // more than one page
		queued(tasks.QueueEvents, fmt.Sprint("archived", i), 1)
		if err := asynq.NewInspectorFromRedisClient(b.rdb).ArchiveTask(tasks.QueueEvents, fmt.Sprint("archived", i)); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range [][4]string{
		{"DELETE", "backfill/pending_tasks/" + chunk, "", `{"deleted":1,"ended_cloudids":3}`},
		{"POST", "events/scheduled_tasks:batch_delete", `{"task_ids":["scheduled0","nowhere","scheduled1"]}`,
			`{"deleted_ids":["scheduled0","scheduled1"],"failed_ids":["nowhere"],"ended_cloudids":2}`},
		{"POST", "events/scheduled_tasks:batch_delete", `{"task_ids":["nowhere"]}`, `{"deleted_ids":[],"failed_ids":["nowhere"],"ended_cloudids":0}`},
		{"DELETE", "events/scheduled_tasks:delete_all", "", `{"deleted":3,"ended_cloudids":3}`},
		{"DELETE", "events/archived_tasks:delete_all", "", `{"deleted":230,"ended_cloudids":230}`},
		{"DELETE", "events/groups/g/aggregating_tasks/grouped0", "", `{"deleted":1,"ended_cloudids":1}`},
		{"DELETE", "events/groups/g/aggregating_tasks:delete_all", "", `{"deleted":4,"ended_cloudids":4}`},
		{"DELETE", "events/pending_tasks/one", "", `{"deleted":1,"ended_cloudids":2}`},
		{"DELETE", "events/retry_tasks:delete_all", "", `{"deleted":0,"ended_cloudids":0}`},
	} {
		got := b.call(tc[0], "/monitoring/api/queues/"+tc[1], tc[2], basic(admin)...)
		if got.status != 200 || got.body != tc[3] {
			t.Errorf("%s %s = %d %s, want %s", tc[0], tc[1], got.status, got.body, tc[3])
		}
	}
	records, err := b.results.Lookup(t.Context(), "wxA", all)
	if err != nil {
		t.Fatal(err)
	}
	for _, rec := range records {
		if rec.Status != store.Failed || !strings.HasPrefix(rec.Error.Message, "an operator deleted its task") {
			t.Errorf("record = %+v, want it failed with the reason", rec)
		}
	}
	delivered := 0
	for {
		id, left, err := b.deliveries.Cut(t.Context(), "wxA", "orders", 100)
		if err != nil {
			t.Fatal(err)
		}
		if d, err := b.deliveries.Load(t.Context(), id); err == nil {
			delivered += len(d.Items)
		}
		if left == 0 {
			break
		}
	}
	if delivered != len(all) {
		t.Errorf("%d results are delivered, want %d", delivered, len(all))
	}
	if got, err := b.backfills.Get(t.Context(), of.Backfill.ID); err != nil || got.Failed != 3 || !got.Finished() {
		t.Errorf("backfill = %+v, %v, want it finished with 3 failed", got, err)
	}
}

// If the cloudIDs of a task cannot be given a final status, the task is not deleted and the
// response says so. A key that may only read deletes nothing.
func TestMonitoring_Deleting_Refused(t *testing.T) {
	b := newFixture(t, allKeys()...)
	for id, payload := range map[string]string{"newer": `{"v":9}`, "unreadable": "planted"} {
		if _, err := asynq.NewClientFromRedisClient(b.rdb).Enqueue(asynq.NewTask(tasks.TypeResolve, []byte(payload)),
			asynq.TaskID(id), asynq.Queue(tasks.QueueEvents)); err != nil {
			t.Fatal(err)
		}
	}
	got := b.call("DELETE", "/monitoring/api/queues/events/pending_tasks/newer", "", basic(admin)...)
	if got.status != 500 || !strings.Contains(got.body, "newer version") {
		t.Errorf("a newer task = %d %s", got.status, got.body)
	}
	got = b.call("DELETE", "/monitoring/api/queues/events/pending_tasks:delete_all", "", basic(admin)...)
	if got.status != 500 || strings.Contains(got.body, "planted") {
		t.Errorf("all with a newer task = %d %s", got.status, got.body)
	}
	queuedOf(t, b, tasks.QueueEvents, "kept", 1)
	wantProblem(t, b.call("DELETE", "/monitoring/api/queues/events/pending_tasks/kept", "", basic(reader)...), 403)
	if got := b.call("POST", "/monitoring/api/queues/events/pending_tasks:batch_delete", "{", basic(admin)...); got.status/100 == 2 {
		t.Errorf("half a body = %d %s", got.status, got.body)
	}
	records, err := b.results.Lookup(t.Context(), "wxA", []string{"73_kept_0"})
	if err != nil || records[0].Status != "" {
		t.Errorf("record = %+v, %v, want none", records, err)
	}
	got = b.call("POST", "/monitoring/api/queues/events/pending_tasks/kept:archive", "", basic(admin)...)
	if got.status != 200 || !strings.Contains(got.body, "can be run again until their lifetime ends") {
		t.Errorf("archiving = %d %s, want it to say what that means", got.status, got.body)
	}
}
