package worker

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"cloudidq/internal/backfill"
	"cloudidq/internal/queue"
	"cloudidq/internal/redistest"
	"cloudidq/store"
	"cloudidq/tasks"
)

// finishFixture is a redactor with the parts that a worker gives it. It has no worker, so nothing is
// requested from WeChat.
type finishFixture struct {
	*queue.Redactor
	resolver   *resolver
	log        *slog.Logger
	rdb        *redis.Client
	client     *asynq.Client
	inspector  *asynq.Inspector
	results    store.Results
	deliveries *store.Deliveries
	backfills  *backfill.Store
}

func newFinishFixture(t *testing.T) *finishFixture {
	t.Helper()
	rdb := redistest.Start(t).Client(t)
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelError}))
	b := &finishFixture{
		log: log, rdb: rdb, client: asynq.NewClientFromRedisClient(rdb),
		inspector: asynq.NewInspectorFromRedisClient(rdb), results: store.NewRedis(rdb, time.Hour),
		deliveries: store.NewDeliveries(rdb), backfills: backfill.NewStore(rdb, time.Hour, nil),
	}
	b.resolver = &resolver{
		lifetime: 5 * time.Minute, results: b.results, bulk: newBulk(b.backfills), activity: noActivity{}, log: log,
		outlets: outletsOf(nil, func(string) string { return "orders" }),
	}
	b.restart()
	return b
}

// enqueue puts a cloudid:resolve task with this id into a queue.
func (b *finishFixture) enqueue(t *testing.T, queue, id string, p tasks.ResolvePayload, options ...asynq.Option) {
	t.Helper()
	task, err := tasks.NewResolveTask(p, queue)
	if err == nil {
		_, err = b.client.Enqueue(task, append(options, asynq.TaskID(id), asynq.Queue(queue))...)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (b *finishFixture) archiveByHand(t *testing.T, queue, id string) {
	t.Helper()
	if err := b.inspector.ArchiveTask(queue, id); err != nil {
		t.Fatal(err)
	}
}

func (b *finishFixture) task(t *testing.T, queue, id string) *asynq.TaskInfo {
	t.Helper()
	info, err := b.inspector.GetTaskInfo(queue, id)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

func (b *finishFixture) records(t *testing.T, p tasks.ResolvePayload) []store.Record {
	t.Helper()
	ids := make([]string, len(p.Items))
	for i, it := range p.Items {
		ids[i] = it.CloudID
	}
	records, err := b.results.Lookup(t.Context(), p.AppID, ids)
	if err != nil {
		t.Fatal(err)
	}
	return records
}

// delivered takes the results that wait for the endpoint, and returns their number.
func (b *finishFixture) delivered(t *testing.T) int {
	t.Helper()
	id, left, err := b.deliveries.Cut(t.Context(), testApp, "orders", 1000)
	if err != nil || left > 0 {
		t.Fatalf("Cut: %d left, %v", left, err)
	}
	if id == "" {
		return 0
	}
	d, err := b.deliveries.Load(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return len(d.Items)
}

// restart replaces the redactor, as a restart of the worker does. The first pass of the new one
// checks all archived tasks.
func (b *finishFixture) restart() { b.Redactor = queue.NewRedactor(b.rdb, b.resolver, b.log) }

// A task that an operator archives keeps its open cloudIDs for their lifetime, so that it can
// be run again. Then each cloudID gets a record, a delivery and its count in the backfill. Only
// after that the task is redacted.
func TestRedactor_ArchivedByHand_ExpiresWithItsLifetime(t *testing.T) {
	b := newFinishFixture(t)
	id := backfill.NewID()
	p := payloadOf(3, time.Now())
	p.Backfill = id
	loadChunk(t, b.backfills, id, p)
	chunk := tasks.ChunkTaskID(id, 0)
	b.enqueue(t, tasks.QueueBackfill, chunk, p)
	b.archiveByHand(t, tasks.QueueBackfill, chunk)
	for range 2 { // no matter how often the archive is read
		b.Pass(t.Context())
		b.restart()
	}
	task := b.task(t, tasks.QueueBackfill, chunk)
	if _, err := tasks.ParseResolve(task.Payload); err != nil || task.State != asynq.TaskStateArchived {
		t.Fatalf("the task is %s with %s, %v, want it archived as it was", task.State, task.Payload, err)
	}
	for _, rec := range b.records(t, p) {
		if rec.Status != store.Pending {
			t.Errorf("record = %+v, want it pending", rec)
		}
	}
	if n := b.delivered(t); n != 0 {
		t.Errorf("%d results of open cloudIDs are delivered", n)
	}

	b.resolver.lifetime = time.Nanosecond // the lifetime is over now
	b.restart()
	b.Pass(t.Context())
	for _, rec := range b.records(t, p) {
		if rec.Status != store.Expired || !strings.Contains(rec.Error.Message, "its lifetime ended") || rec.Reference == "" {
			t.Errorf("record = %+v, want it expired", rec)
		}
	}
	if n := b.delivered(t); n != 3 {
		t.Errorf("%d results are delivered, want 3", n)
	}
	if of, err := b.backfills.Get(t.Context(), id); err != nil || of.Expired != 3 || !of.Finished() {
		t.Errorf("backfill = %+v, %v, want 3 expired and an end", of, err)
	}
	if payload := string(b.task(t, tasks.QueueBackfill, chunk).Payload); !strings.HasPrefix(payload, redactedMark) {
		t.Errorf("the archive still holds %s", payload)
	}
	b.restart()
	b.Pass(t.Context())
	if n := b.delivered(t); n != 0 {
		t.Errorf("%d results are delivered twice", n)
	}
}

// The erasure of one user leaves the open cloudIDs of the other users in an archived task.
func TestEraser_ArchivedTask_KeepsWhatIsOpenOfOthers(t *testing.T) {
	b := newFinishFixture(t)
	p := mixed("archived", 4, time.Now())
	b.enqueue(t, tasks.QueueEvents, "by-hand", p)
	b.archiveByHand(t, tasks.QueueEvents, "by-hand")
	if _, err := queue.NewEraser(b.results, b.rdb).Erase(t.Context(), testApp, planted); err != nil {
		t.Fatal(err)
	}
	b.Pass(t.Context())
	text, err := tasks.ParseResolve(b.task(t, tasks.QueueEvents, "by-hand").Payload)
	if err != nil || len(text.Items) != 2 || text.Items[0].OpenID == planted {
		t.Fatalf("payload = %+v, %v, want the two of others", text, err)
	}
	b.resolver.lifetime = time.Nanosecond
	b.restart()
	b.Pass(t.Context())
	for i, rec := range b.records(t, p) {
		if want := map[bool]store.Status{true: store.Expired}[p.Items[i].OpenID != planted]; rec.Status != want {
			t.Errorf("record %d = %+v, want status %q", i, rec, want)
		}
	}
}

// An archived task that cannot be read is counted in its backfill and redacted. A task of a
// newer version is left to a newer worker for an hour.
func TestRedactor_Unreadable(t *testing.T) {
	b := newFinishFixture(t)
	id := backfill.NewID()
	p := payloadOf(2, time.Now())
	loadChunk(t, b.backfills, id, p)
	for name, payload := range map[string]string{tasks.ChunkTaskID(id, 0): "73_unreadable", "newer": `{"v":9,"planted":"73_"}`} {
		if _, err := b.client.Enqueue(asynq.NewTask(tasks.TypeResolve, []byte(payload)), asynq.TaskID(name), asynq.Queue(tasks.QueueBackfill)); err != nil {
			t.Fatal(err)
		}
		b.archiveByHand(t, tasks.QueueBackfill, name)
	}
	b.Pass(t.Context())
	if of, err := b.backfills.Get(t.Context(), id); err != nil || of.Failed != 2 {
		t.Errorf("backfill = %+v, %v, want 2 failed", of, err)
	}
	if payload := string(b.task(t, tasks.QueueBackfill, tasks.ChunkTaskID(id, 0)).Payload); payload != redactedMark+"}" {
		t.Errorf("what cannot be read is %s", payload)
	}
	if payload := string(b.task(t, tasks.QueueBackfill, "newer").Payload); !strings.Contains(payload, "planted") {
		t.Errorf("what is for a newer worker is %s", payload)
	}
	key := "asynq:{" + tasks.QueueBackfill + "}:archived"
	longAgo := float64(time.Now().Add(-2 * time.Hour).Unix())
	if err := b.rdb.ZAdd(t.Context(), key, redis.Z{Score: longAgo, Member: "newer"}).Err(); err != nil {
		t.Fatal(err)
	}
	b.restart()
	b.Pass(t.Context())
	if payload := string(b.task(t, tasks.QueueBackfill, "newer").Payload); payload != redactedMark+"}" {
		t.Errorf("what no newer worker has come for is %s", payload)
	}
}

// counted counts the commands that a client sends, including those in pipelines.
type counted struct{ n int }

func (c *counted) DialHook(next redis.DialHook) redis.DialHook { return next }

func (c *counted) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error { c.n++; return next(ctx, cmd) }
}

func (c *counted) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error { c.n += len(cmds); return next(ctx, cmds) }
}

// redactedMark is the start of a redacted payload.
const redactedMark = `{"v":0,"redacted":true`

// A pass of the redactor costs as much as there are new tasks, no matter how many are archived.
// With asynq's limit of 10,000 tasks, all archived within the last minute, a pass takes a few
// commands for both queues, and one new task takes a few more.
func TestRedactor_CostsWhatIsNew(t *testing.T) {
	b := newFinishFixture(t)
	const n = 9_999
	now := time.Now().Unix()
	payload := []byte(redactedMark + `,"appid":"` + testApp + `","items":1}`)
	message := messageOf(t, payload)
	pipe := b.rdb.Pipeline()
	archived := func(i int, at int64) {
		id := "task-" + time.Unix(int64(i), 0).UTC().Format("150405")
		pipe.HSet(t.Context(), "asynq:{events}:t:"+id, "msg", message, "state", "archived")
		pipe.ZAdd(t.Context(), "asynq:{events}:archived", redis.Z{Score: float64(at), Member: id})
	}
	for i := range n {
		archived(i, now-int64(i%60))
	}
	if _, err := pipe.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.Pass(t.Context()) // a worker reads all of them once when it starts
	count := &counted{}
	b.rdb.AddHook(count)
	const passes = 10
	for range passes {
		b.Pass(t.Context())
	}
	if most := 10 * passes; count.n > most {
		t.Errorf("%d commands in %d passes over %d archived tasks, want %d at most", count.n, passes, n, most)
	}

	b.enqueue(t, tasks.QueueEvents, "new", payloadOf(1, time.Now().Add(-time.Hour)))
	b.archiveByHand(t, tasks.QueueEvents, "new")
	count.n = 0
	b.Pass(t.Context())
	if payload := string(b.task(t, tasks.QueueEvents, "new").Payload); !strings.HasPrefix(payload, redactedMark) {
		t.Errorf("the new task holds %s, want it redacted within a pass", payload)
	}
	if count.n > 30 {
		t.Errorf("%d commands for one new task", count.n)
	}
}

// messageOf returns the message that asynq stores for a cloudid:resolve task.
func messageOf(t *testing.T, payload []byte) []byte {
	t.Helper()
	b := newFinishFixture(t)
	task := asynq.NewTask(tasks.TypeResolve, payload)
	_, err := b.client.Enqueue(task, asynq.TaskID("model"), asynq.Queue(tasks.QueueEvents))
	if err != nil {
		t.Fatal(err)
	}
	message, err := b.rdb.HGet(t.Context(), "asynq:{events}:t:model", "msg").Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return message
}
