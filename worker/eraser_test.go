package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"cloudidq/internal/attempt"
	"cloudidq/internal/batch"
	"cloudidq/internal/batch/batchtest"
	"cloudidq/internal/redistest"
	"cloudidq/store"
	"cloudidq/tasks"
)

// planted is the openid of the user who is erased.
const planted = "oPLANTED"

// mixed returns a payload of n cloudIDs. Every other one, from the first on, is the planted
// user's.
func mixed(name string, n int, accepted time.Time) tasks.ResolvePayload {
	p := tasks.ResolvePayload{AppID: testApp, AcceptedAt: accepted}
	for i := range n {
		it := tasks.Item{CloudID: fmt.Sprintf("73_%s_%d", name, i), OpenID: "oOther", Reference: "other"}
		if i%2 == 0 {
			it = tasks.Item{CloudID: fmt.Sprintf("73_PLANTED_%s_%d", name, i), OpenID: planted, Reference: "PLANTED"}
		}
		p.Items = append(p.Items, it)
	}
	return p
}

// eraserBed is a fixture: a real Redis with asynq's client and inspector. Its method serve
// brings tasks into their states.
type eraserBed struct {
	*testing.T
	rdb       *redis.Client
	client    *asynq.Client
	inspector *asynq.Inspector
	results   *store.Redis
}

func newEraserBed(t *testing.T) *eraserBed {
	t.Helper()
	rdb := redistest.Start(t).Client(t)
	return &eraserBed{
		t, rdb, asynq.NewClientFromRedisClient(rdb), asynq.NewInspectorFromRedisClient(rdb), store.NewRedis(rdb, time.Hour),
	}
}

// enqueue enqueues a payload as a task with this id.
func (b *eraserBed) enqueue(id string, p tasks.ResolvePayload, options ...asynq.Option) {
	b.Helper()
	task, err := tasks.NewResolveTask(p, tasks.QueueEvents)
	if err == nil {
		_, err = b.client.Enqueue(task, append(options, asynq.TaskID(id), asynq.Queue(tasks.QueueEvents))...)
	}
	if err != nil {
		b.Fatal(err)
	}
}

// serve runs an asynq server until n tasks were handled.
func (b *eraserBed) serve(n int, handler asynq.HandlerFunc) {
	b.Helper()
	handled := make(chan struct{}, n)
	srv := asynq.NewServerFromRedisClient(b.rdb, asynq.Config{
		Concurrency: 1, Queues: map[string]int{tasks.QueueEvents: 1}, TaskCheckInterval: 10 * time.Millisecond,
		LogLevel: asynq.FatalLevel, RetryDelayFunc: func(int, error, *asynq.Task) time.Duration { return time.Hour },
	})
	err := srv.Start(asynq.HandlerFunc(func(ctx context.Context, task *asynq.Task) error {
		defer func() { handled <- struct{}{} }()
		return handler(ctx, task)
	}))
	if err != nil {
		b.Fatal(err)
	}
	for range n {
		<-handled
	}
	srv.Shutdown()
}

// everything returns a dump of all keys of Redis.
func (b *eraserBed) everything() string {
	b.Helper()
	if err := b.rdb.ConfigSet(b.Context(), "rdbcompression", "no").Err(); err != nil { // DUMP compresses as well
		b.Fatal(err)
	}
	var all strings.Builder
	for it := b.rdb.Scan(b.Context(), 0, "*", 1000).Iterator(); it.Next(b.Context()); {
		all.WriteString(it.Val() + " " + b.rdb.Dump(b.Context(), it.Val()).Val() + "\n")
	}
	return all.String()
}

// Erase removes the user from tasks in every state. The eraser accesses asynq's own keys. So this
// test lets the asynq version of go.mod write the tasks, and reads the result by its Inspector.
func TestEraser_EveryState_FitsTheLayoutOfAsynq(t *testing.T) {
	b := newEraserBed(t)
	const n = 5 // three of them are the planted user's
	now := time.Now()
	b.enqueue("retry", mixed("retry", n, now))
	b.enqueue("archived", mixed("archived", n, now))
	b.enqueue("completed", mixed("completed", n, now), asynq.Retention(time.Hour))
	b.serve(3, func(ctx context.Context, _ *asynq.Task) error {
		switch id, _ := asynq.GetTaskID(ctx); id {
		case "retry":
			return errors.New("again")
		case "archived":
			return attempt.Archive("no data")
		}
		return nil
	})
	for i := range 2*queuedPage + 3 {
		b.enqueue(fmt.Sprint("pending-", i), mixed(fmt.Sprint(i), n, now))
	}
	b.enqueue("scheduled", mixed("scheduled", n, now), asynq.ProcessIn(time.Hour))
	b.enqueue("alone", mixed("alone", 1, now))
	noTime := mixed("notime", n, time.Time{})
	b.enqueue("no-time", noTime)
	if !strings.Contains(b.everything(), "PLANTED") {
		t.Fatal("nothing is planted")
	}
	before := b.tasks()

	erased, err := NewEraser(b.results, b.rdb).Erase(t.Context(), testApp, planted)
	if erased != 0 || err != nil {
		t.Errorf("Erase = %d, %v, want no record, and no error", erased, err)
	}
	if all := b.everything(); strings.Contains(all, "PLANTED") {
		t.Errorf("Redis still holds the person: %.300q", all[strings.Index(all, "PLANTED")-200:])
	}
	after := b.tasks()
	if len(after) != len(before) {
		t.Errorf("%d tasks, want the %d that there were", len(after), len(before))
	}
	for id, was := range before {
		is := after[id]
		if is == nil || is.State != was.State || is.Retried != was.Retried || is.MaxRetry != was.MaxRetry || is.LastErr != was.LastErr ||
			!is.NextProcessAt.Equal(was.NextProcessAt) && was.State != asynq.TaskStatePending || is.Timeout != was.Timeout {
			t.Fatalf("task %s is %+v, want all but the payload of %+v", id, is, was)
		}
		if was.State == asynq.TaskStateCompleted {
			if !strings.HasPrefix(string(is.Payload), redactedMark) {
				t.Errorf("the %s task holds %s, want it redacted", is.State, is.Payload)
			}
			continue
		}
		checkOthers(t, id, was.Payload, is.Payload)
	}
}

// checkOthers checks that a payload has lost the planted user and nothing else.
func checkOthers(t *testing.T, id string, was, is []byte) {
	t.Helper()
	before, err := tasks.ParseResolve(was)
	if err != nil {
		t.Fatal(err)
	}
	after, err := tasks.ParseResolve(is)
	if err != nil {
		t.Fatalf("task %s: %v", id, err)
	}
	gone := before.TakeOut(func(it tasks.Item) bool { return it.OpenID == planted })
	if len(gone) == 0 || after.Erased != len(gone) || fmt.Sprint(after.Items) != fmt.Sprint(before.Items) ||
		!after.AcceptedAt.Equal(before.AcceptedAt) {
		t.Errorf("task %s holds %s, want the others of %s", id, is, was)
	}
}

// tasks returns all tasks of the queue by id, as asynq reads them.
func (b *eraserBed) tasks() map[string]*asynq.TaskInfo {
	b.Helper()
	found := make(map[string]*asynq.TaskInfo)
	for _, list := range []func(string, ...asynq.ListOption) ([]*asynq.TaskInfo, error){
		b.inspector.ListPendingTasks, b.inspector.ListScheduledTasks, b.inspector.ListRetryTasks,
		b.inspector.ListArchivedTasks, b.inspector.ListCompletedTasks,
	} {
		infos, err := list(tasks.QueueEvents, asynq.PageSize(10_000))
		if err != nil {
			b.Fatal(err)
		}
		for _, info := range infos {
			found[info.ID] = info
		}
	}
	return found
}

// A cloudID that was erased while it was queued stays erased if it is submitted again, even if
// the clock of its producer was an hour ahead. A cloudID of the user that is enqueued after the
// erasure is processed as usual. So are the cloudIDs of another app.
func TestEraser_WhatWaited_StaysErased(t *testing.T) {
	b := newEraserBed(t)
	b.enqueue("before", mixed("before", 2, time.Now()))
	b.enqueue("ahead", mixed("ahead", 2, time.Now().Add(time.Hour)))
	foreign := mixed("foreign", 2, time.Now())
	foreign.AppID = "wxother"
	b.enqueue("foreign", foreign)
	if _, err := NewEraser(b.results, b.rdb).Erase(t.Context(), testApp, planted); err != nil {
		t.Fatal(err)
	}
	b.enqueue("later", mixed("later", 2, time.Now().Add(time.Hour)))
	after := b.tasks()
	for id, want := range map[string]int{"before": 1, "ahead": 1, "later": 2, "foreign": 2} {
		if p, err := tasks.ParseResolve(after[id].Payload); err != nil || len(p.Items) != want {
			t.Errorf("task %s holds %d items, %v, want %d", id, len(p.Items), err, want)
		}
	}
	for id, want := range map[string]store.ClaimState{
		"73_PLANTED_before_0": store.Erased, "73_PLANTED_ahead_0": store.Erased, "73_PLANTED_later_0": store.Claimed,
	} {
		got, err := b.results.Claim(t.Context(), store.Claim{
			AppID: testApp, TaskID: "another", For: time.Hour, Records: []store.Record{{
				AppID: testApp, OpenID: planted, CloudID: id, Status: store.Pending, AcceptedAt: store.At(time.Now().Add(time.Hour)),
			}},
		})
		if err != nil || got[0].State != want {
			t.Errorf("%s asked for again: %v, %v, want %v", id, got, err, want)
		}
	}
}

// A task that a worker has fetched and not claimed yet finds its user erased, even if the clock
// of its producer is an hour ahead.
func TestEraser_TaskBegunAndNotClaimed_ProducerAhead_FindsThePersonErased(t *testing.T) {
	b := newEraserBed(t)
	ahead := time.Now().Add(time.Hour)
	b.enqueue("begun", mixed("begun", 2, ahead))
	b.serve(1, func(ctx context.Context, _ *asynq.Task) error {
		if _, err := NewEraser(b.results, b.rdb).Erase(ctx, testApp, planted); err != nil {
			t.Error(err)
		}
		got, err := b.results.Claim(ctx, store.Claim{AppID: testApp, TaskID: "begun", For: time.Hour, Records: []store.Record{
			{AppID: testApp, OpenID: planted, CloudID: "73_PLANTED_begun_0", Status: store.Pending, AcceptedAt: store.At(ahead)},
			{AppID: testApp, OpenID: "oOther", CloudID: "73_begun_1", Status: store.Pending, AcceptedAt: store.At(ahead)},
		}})
		if err != nil || got[0].State != store.Erased || got[1].State != store.Claimed {
			t.Errorf("Claim = %v, %v, want the person erased, and the other claimed", got, err)
		}
		return nil
	})
}

// A task that is held by a worker is not rewritten. If the task is requeued, it loses the user,
// because the handler has found the user erased and reported that to the redactor.
func TestEraser_TaskInHand_LosesThePersonWhenItComesBack(t *testing.T) {
	b := newEraserBed(t)
	now := time.Now()
	b.enqueue("in-hand", mixed("hand", 5, now))
	eraser := NewEraser(b.results, b.rdb)
	redact := newRedactor(b.rdb, slog.New(slog.DiscardHandler))
	f := &batchtest.WeChat{}
	batches := batch.New(f, []App{app(nil)}, batch.Options{})
	defer batches.Close()
	h := &resolver{
		apps: &directory{batcher: batches}, lifetime: 5 * time.Minute, results: b.results, batcher: batches, shares: &shares{},
		activity: noActivity{}, log: slog.New(slog.DiscardHandler), redact: redact,
	}
	b.serve(1, func(ctx context.Context, task *asynq.Task) error {
		if _, err := eraser.Erase(ctx, testApp, planted); err != nil {
			t.Error(err)
		}
		if !strings.Contains(string(b.message("in-hand")), "PLANTED") {
			t.Error("the task was rewritten while a worker had it")
		}
		// Another task has claimed a cloudID of another user, so that this task is requeued.
		busy := store.Claim{AppID: testApp, TaskID: "another", For: time.Hour, Records: []store.Record{{
			AppID: testApp, OpenID: "oOther", CloudID: "73_hand_1", Status: store.Pending, AcceptedAt: store.At(now),
		}}}
		if _, err := b.results.Claim(ctx, busy); err != nil {
			t.Error(err)
		}
		err := h.ProcessTask(ctx, task)
		// Too early: the task is active, and stays noted.
		if err := redact.takeOutAll(ctx); err != nil {
			t.Error(err)
		}
		return err
	})
	before := b.tasks()["in-hand"]
	if before == nil || before.State != asynq.TaskStateRetry || !strings.Contains(string(before.Payload), "PLANTED") {
		t.Fatalf("task = %+v, want it back with all that it had: nothing is proved", before)
	}
	if err := redact.takeOutAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	checkOthers(t, "in-hand", before.Payload, b.tasks()["in-hand"].Payload)
	if len(redact.left) != 0 {
		t.Errorf("%d tasks are still to lose somebody", len(redact.left))
	}
}

func (b *eraserBed) message(id string) []byte {
	b.Helper()
	message, err := b.rdb.HGet(b.Context(), "asynq:{"+tasks.QueueEvents+"}:t:"+id, "msg").Bytes()
	if err != nil {
		b.Fatal(err)
	}
	return message
}

// A task that has lost all of its cloudIDs is done. In a backfill, erased cloudIDs
// count as failed.
func TestTry_ErasedFromThePayload_CountsAsFailed(t *testing.T) {
	b := newBackfillBed(t, &batchtest.WeChat{}, 3)
	first := b.p.Items[0].OpenID
	b.p.TakeOut(func(it tasks.Item) bool { return it.OpenID == first })
	if err := b.run(t); err != nil {
		t.Fatal(err)
	}
	b.want(t, 0, 2, 2, 0)
	b.p.TakeOut(func(tasks.Item) bool { return true })
	if err := b.run(t); err != nil {
		t.Errorf("a try of nothing = %v, want done", err)
	}
}
