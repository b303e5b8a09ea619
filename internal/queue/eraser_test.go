package queue

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

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
			it.CloudID, it.OpenID = fmt.Sprintf("73_PLANTED_%s_%d", name, i), planted
			it.Reference = "PLANTED"
		}
		p.Items = append(p.Items, it)
	}
	return p
}

// eraserFixture is a fixture: a real Redis with asynq's client and inspector. Its method serve
// brings tasks into their states.
type eraserFixture struct {
	*testing.T
	rdb       *redis.Client
	client    *asynq.Client
	inspector *asynq.Inspector
	results   *store.Redis
}

func newEraserFixture(t *testing.T) *eraserFixture {
	t.Helper()
	return newEraserFixtureOn(t, redistest.Start(t).Client(t))
}

func newEraserFixtureOn(t *testing.T, rdb *redis.Client) *eraserFixture {
	return &eraserFixture{
		t, rdb, asynq.NewClientFromRedisClient(rdb), asynq.NewInspectorFromRedisClient(rdb),
		store.NewRedis(rdb, time.Hour),
	}
}

// enqueue enqueues a payload as a task with this id.
func (b *eraserFixture) enqueue(id string, p tasks.ResolvePayload, options ...asynq.Option) {
	b.Helper()
	task, err := tasks.NewResolveTask(p, tasks.QueueEvents)
	if err == nil {
		options = append(options, asynq.TaskID(id), asynq.Queue(tasks.QueueEvents))
		_, err = b.client.Enqueue(task, options...)
	}
	if err != nil {
		b.Fatal(err)
	}
}

// serve runs an asynq server until n tasks were handled.
func (b *eraserFixture) serve(n int, handler asynq.HandlerFunc) {
	b.Helper()
	handled := make(chan struct{}, n)
	srv := asynq.NewServerFromRedisClient(b.rdb, asynq.Config{
		Concurrency: 1, Queues: map[string]int{tasks.QueueEvents: 1}, LogLevel: asynq.FatalLevel,
		TaskCheckInterval: 10 * time.Millisecond,
		RetryDelayFunc:    func(int, error, *asynq.Task) time.Duration { return time.Hour },
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
func (b *eraserFixture) everything() string {
	b.Helper()
	// DUMP compresses as well.
	if err := b.rdb.ConfigSet(b.Context(), "rdbcompression", "no").Err(); err != nil {
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
	b := newEraserFixture(t)
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
			return fmt.Errorf("no data: %w", asynq.SkipRetry)
		}
		return nil
	})
	for i := range 2*taskPage + 3 {
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
		t.Errorf("Redis still holds the user: %.300q", all[strings.Index(all, "PLANTED")-200:])
	}
	after := b.tasks()
	if len(after) != len(before) {
		t.Errorf("%d tasks, want the %d that there were", len(after), len(before))
	}
	for id, was := range before {
		is := after[id]
		if is == nil || is.State != was.State || is.Retried != was.Retried ||
			is.MaxRetry != was.MaxRetry || is.LastErr != was.LastErr || is.Timeout != was.Timeout ||
			!is.NextProcessAt.Equal(was.NextProcessAt) && was.State != asynq.TaskStatePending {
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
	if len(gone) == 0 || after.Erased != len(gone) ||
		fmt.Sprint(after.Items) != fmt.Sprint(before.Items) ||
		!after.AcceptedAt.Equal(before.AcceptedAt) {
		t.Errorf("task %s holds %s, want the others of %s", id, is, was)
	}
}

// tasks returns all tasks of the queue by id, as asynq reads them.
func (b *eraserFixture) tasks() map[string]*asynq.TaskInfo {
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
	b := newEraserFixture(t)
	b.enqueue("before", mixed("before", 2, time.Now()))
	b.enqueue("ahead", mixed("ahead", 2, time.Now().Add(time.Hour)))
	elsewhere := mixed("elsewhere", 2, time.Now())
	elsewhere.AppID = "wxother"
	b.enqueue("elsewhere", elsewhere)
	if _, err := NewEraser(b.results, b.rdb).Erase(t.Context(), testApp, planted); err != nil {
		t.Fatal(err)
	}
	b.enqueue("later", mixed("later", 2, time.Now().Add(time.Hour)))
	after := b.tasks()
	for id, want := range map[string]int{"before": 1, "ahead": 1, "later": 2, "elsewhere": 2} {
		if p, err := tasks.ParseResolve(after[id].Payload); err != nil || len(p.Items) != want {
			t.Errorf("task %s holds %d items, %v, want %d", id, len(p.Items), err, want)
		}
	}
	for id, want := range map[string]store.ClaimState{
		"73_PLANTED_before_0": store.Erased, "73_PLANTED_ahead_0": store.Erased,
		"73_PLANTED_later_0": store.Claimed,
	} {
		got, err := b.results.Claim(t.Context(), store.Claim{
			AppID: testApp, TaskID: "another", For: time.Hour, Records: []store.Record{{
				AppID: testApp, OpenID: planted, CloudID: id, Status: store.Pending,
				AcceptedAt: store.At(time.Now().Add(time.Hour)),
			}},
		})
		if err != nil || got[0].State != want {
			t.Errorf("%s requested again: %v, %v, want %v", id, got, err, want)
		}
	}
}

// A task that a worker has fetched and not claimed yet finds its user erased, even if the clock
// of its producer is an hour ahead.
func TestEraser_TaskBegunAndNotClaimed_ProducerAhead_FindsThePersonErased(t *testing.T) {
	b := newEraserFixture(t)
	ahead := time.Now().Add(time.Hour)
	b.enqueue("begun", mixed("begun", 2, ahead))
	b.serve(1, func(ctx context.Context, _ *asynq.Task) error {
		if _, err := NewEraser(b.results, b.rdb).Erase(ctx, testApp, planted); err != nil {
			t.Error(err)
		}
		record := func(openID, cloudID string) store.Record {
			return store.Record{
				AppID: testApp, OpenID: openID, CloudID: cloudID, Status: store.Pending,
				AcceptedAt: store.At(ahead),
			}
		}
		got, err := b.results.Claim(ctx, store.Claim{
			AppID: testApp, TaskID: "begun", For: time.Hour,
			Records: []store.Record{record(planted, "73_PLANTED_begun_0"), record("oOther", "73_begun_1")},
		})
		if err != nil || got[0].State != store.Erased || got[1].State != store.Claimed {
			t.Errorf("Claim = %v, %v, want the user erased, and the other claimed", got, err)
		}
		return nil
	})
}

func (b *eraserFixture) message(id string) []byte {
	b.Helper()
	message, err := b.rdb.HGet(b.Context(), taskKey(tasks.QueueEvents, id), "msg").Bytes()
	if err != nil {
		b.Fatal(err)
	}
	return message
}

// BenchmarkEraser erases a user from a queue of 2,000 tasks of 100 cloudIDs each. Only one task
// holds a cloudID of the user.
func BenchmarkEraser(b *testing.B) {
	rdb := redistest.Start(b).Client(b)
	client := asynq.NewClientFromRedisClient(rdb)
	const n = 2000
	for i := range n {
		p := payloadOf(tasks.MaxItems, time.Now())
		if i == n/2 {
			p.Items[50].OpenID = planted
		}
		task, err := tasks.NewResolveTask(p, tasks.QueueEvents)
		if err == nil {
			_, err = client.EnqueueContext(b.Context(), task)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	eraser := NewEraser(store.NewRedis(rdb, time.Hour), rdb)
	for b.Loop() {
		if _, err := eraser.Erase(b.Context(), testApp, planted); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)*n/b.Elapsed().Seconds(), "tasks/s")
}
