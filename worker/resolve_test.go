package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"cloudidq/internal/attempt"
	"cloudidq/internal/batch"
	"cloudidq/internal/batch/batchtest"
	"cloudidq/internal/queue"
	"cloudidq/internal/redistest"
	"cloudidq/internal/wechat"
	"cloudidq/store"
	"cloudidq/tasks"
)

// resolverFixture is the fixture of the resolver tests: a resolver on a real store, with a WeChat
// that the test scripts.
type resolverFixture struct {
	*resolver
	wechat  *batchtest.WeChat
	results store.Results
}

func newResolverFixture(t *testing.T, f *batchtest.WeChat, options ...batch.Options) *resolverFixture {
	t.Helper()
	results := store.NewRedis(redistest.Start(t).Client(t), time.Hour)
	a := app(nil)
	b := batch.New(f, []App{a}, append(options, batch.Options{})[0])
	t.Cleanup(b.Close)
	return &resolverFixture{
		resolver: &resolver{
			apps: &directory{batcher: b}, lifetime: 5 * time.Minute, results: results, batcher: b, shares: &shares{},
			activity: noActivity{}, log: slog.New(slog.DiscardHandler),
		},
		wechat: f, results: results,
	}
}

// attempt makes one attempt of the task with this id and payload.
func (b *resolverFixture) attempt(t *testing.T, id string, p tasks.ResolvePayload) error {
	t.Helper()
	h, ctx := b.resolver, t.Context()
	r := newResolution(h, id, p)
	return r.attempt(ctx)
}

func (b *resolverFixture) lookup(t *testing.T, p tasks.ResolvePayload) []store.Record {
	t.Helper()
	var ids []string
	for _, it := range p.Items {
		ids = append(ids, it.CloudID)
	}
	records, err := b.results.Lookup(t.Context(), p.AppID, ids)
	if err != nil {
		t.Fatal(err)
	}
	return records
}

// payloadOf returns a payload of n cloudIDs, each of another user and all obtained at the same
// time.
func payloadOf(n int, obtained time.Time) tasks.ResolvePayload {
	p := tasks.ResolvePayload{Version: tasks.PayloadVersion, AppID: testApp, AcceptedAt: obtained}
	for i := range n {
		p.Items = append(p.Items, tasks.Item{
			CloudID: fmt.Sprintf("73_%03d", i), OpenID: fmt.Sprintf("o%d", i), ObtainedAt: obtained, Reference: fmt.Sprint(i),
		})
	}
	return p
}

// An attempt that resolves all cloudIDs completes the task. Neither the same task nor another one
// requests resolved cloudIDs again.
func TestAttempt_AllResolved(t *testing.T) {
	b := newResolverFixture(t, &batchtest.WeChat{})
	p := payloadOf(3, time.Now())
	if err := b.attempt(t, "task-1", p); err != nil {
		t.Fatalf("attempt() = %v, want nil", err)
	}
	for i, rec := range b.lookup(t, p) {
		if rec.Status != store.Resolved || rec.Attempts != 1 || rec.Reference != fmt.Sprint(i) || rec.FinishedAt.IsZero() {
			t.Errorf("record = %+v", rec)
		}
	}
	if err := b.attempt(t, "task-1", p); err != nil {
		t.Errorf("the same task again = %v, want nil", err)
	}
	if err := b.attempt(t, "task-2", p); err != nil {
		t.Errorf("another task for them = %v, want nil", err)
	}
	if n := len(b.wechat.Requests); n != 3 {
		t.Errorf("%d requests, want 3: what is resolved costs none", n)
	}
}

// A task is requeued for its open cloudIDs only. The next attempt requests these and leaves the
// finished ones alone.
func TestAttempt_OnlyOpenCloudIDsAreRequestedAgain(t *testing.T) {
	busy := map[string]bool{"73_001": true}
	f := &batchtest.WeChat{Answer: func(req wechat.Request) *wechat.Error {
		switch {
		case busy[req.Items[0].CloudID]:
			return &wechat.Error{Class: wechat.ClassRetry, Code: -1, Message: "system error"}
		case req.Items[0].CloudID == "73_002":
			return &wechat.Error{Class: wechat.ClassItem, Code: -601007, Message: "cloudID not belong to user."}
		}
		return nil
	}}
	b := newResolverFixture(t, f)
	p := payloadOf(3, time.Now())
	again, ok := errors.AsType[*requeueError](b.attempt(t, "task-1", p))
	if !ok || again.open != 1 || !again.failure || again.latest.IsZero() {
		t.Fatalf("attempt() = %+v, want one open, a failure, with its end of life", again)
	}
	if rec := b.lookup(t, p)[1]; rec.Status != store.Pending || rec.Attempts != 1 || rec.Error == nil || rec.Error.Code != -1 {
		t.Errorf("record between two attempts = %+v, %+v", rec, rec.Error)
	}
	busy["73_001"], f.Requests = false, nil
	if err := b.attempt(t, "task-1", p); err != nil {
		t.Fatalf("second attempt() = %v, want nil", err)
	}
	if len(f.Requests) != 1 || f.Requests[0].Items[0].CloudID != "73_001" {
		t.Errorf("second attempt requested %v, want only the open cloudIDs", f.Requests)
	}
	records := b.lookup(t, p)
	if rec := records[1]; rec.Status != store.Resolved || rec.Attempts != 2 || rec.Error != nil {
		t.Errorf("record = %+v, want resolved after 2 attempts", rec)
	}
	if rec := records[2]; rec.Status != store.Failed || rec.Error.Code != -601007 {
		t.Errorf("record = %+v, want failed", rec)
	}
}

// A task is archived if none of its cloudIDs brought data. Its reason holds counts and the
// first errcode.
func TestAttempt_AllFailed_Archived(t *testing.T) {
	f := &batchtest.WeChat{Answer: func(wechat.Request) *wechat.Error {
		return &wechat.Error{Class: wechat.ClassCall, Code: 40003, Message: "invalid openid"}
	}}
	b := newResolverFixture(t, f)
	p := payloadOf(2, time.Now())
	err := b.attempt(t, "task-1", p)
	if !errors.Is(err, asynq.SkipRetry) {
		t.Fatalf("attempt() = %v, want it archived", err)
	}
	if want := "no cloudID brought data: 2 failed, 0 expired, the first with errcode 40003"; !strings.HasPrefix(err.Error(), want) {
		t.Errorf("reason = %q, want %q …", err, want)
	}
	// A new task may request failed cloudIDs again. The same task may not.
	f.Answer, f.Requests = nil, nil
	if err := b.attempt(t, "task-1", p); !errors.Is(err, asynq.SkipRetry) || len(f.Requests) != 0 {
		t.Errorf("the same task again = %v with %d requests, want archived without one", err, len(f.Requests))
	}
	if err := b.attempt(t, "task-2", p); err != nil {
		t.Errorf("a new task = %v, want nil", err)
	}
	if rec := b.lookup(t, p)[0]; rec.Status != store.Resolved {
		t.Errorf("record = %+v, want resolved", rec)
	}
}

// A task waits, without a failure and without a request, while another task holds the claim on
// its cloudID.
func TestAttempt_ClaimedByAnotherTask_Waits(t *testing.T) {
	b := newResolverFixture(t, &batchtest.WeChat{})
	p := payloadOf(1, time.Now())
	_, err := b.results.Claim(t.Context(), store.Claim{
		AppID: testApp, TaskID: "task-1", For: time.Minute,
		Records: []store.Record{{AppID: testApp, CloudID: p.Items[0].CloudID, Status: store.Pending}},
	})
	if err != nil {
		t.Fatal(err)
	}
	again, ok := errors.AsType[*requeueError](b.attempt(t, "task-2", p))
	if !ok || again.open != 1 || again.failure || len(b.wechat.Requests) != 0 {
		t.Errorf("attempt() = %+v with %d requests, want to wait without one", again, len(b.wechat.Requests))
	}
	if err := b.attempt(t, "task-1", p); err != nil {
		t.Errorf("the holder = %v, want nil", err)
	}
}

// A cloudID past its lifetime expires without a request. Its record keeps the last answer of
// WeChat.
func TestAttempt_Overdue_ExpiredWithTheLastAnswer(t *testing.T) {
	f := &batchtest.WeChat{Answer: func(wechat.Request) *wechat.Error {
		return &wechat.Error{Class: wechat.ClassRetry, Code: -1, Message: "system error", RID: "68aeab00-21ea7900-3a442400"}
	}}
	b := newResolverFixture(t, f)
	b.lifetime = time.Hour
	p := payloadOf(1, time.Now().Add(-30*time.Minute))
	if _, ok := errors.AsType[*requeueError](b.attempt(t, "task-1", p)); !ok {
		t.Fatal("want it open after the first attempt")
	}
	b.lifetime = time.Minute
	f.Requests = nil
	if err := b.attempt(t, "task-1", p); !errors.Is(err, asynq.SkipRetry) {
		t.Fatalf("attempt() = %v, want archived", err)
	}
	rec := b.lookup(t, p)[0]
	if rec.Status != store.Expired || rec.Attempts != 1 || rec.Error.Code != -1 || rec.Error.RID == "" {
		t.Errorf("record = %+v, %+v, want expired with the last answer", rec, rec.Error)
	}
	if len(f.Requests) != 0 {
		t.Errorf("%d requests after the lifetime", len(f.Requests))
	}
}

// An external producer may leave out all times. The lifetime then runs from the first attempt,
// and does not start again with each attempt.
func TestAttempt_NoTimes_LifetimeFromTheFirstAttempt(t *testing.T) {
	f := &batchtest.WeChat{Answer: func(wechat.Request) *wechat.Error {
		return &wechat.Error{Class: wechat.ClassRetry, Code: -1, Message: "system error"}
	}}
	b := newResolverFixture(t, f)
	p := payloadOf(1, time.Time{})
	b.lifetime = time.Minute
	if _, ok := errors.AsType[*requeueError](b.attempt(t, "task-1", p)); !ok {
		t.Fatal("want it open after the first attempt")
	}
	first := b.lookup(t, p)[0].AcceptedAt
	b.lifetime = time.Since(first.Time) / 2 // over by now, counted from the first attempt
	if err := b.attempt(t, "task-1", p); !errors.Is(err, asynq.SkipRetry) {
		t.Errorf("attempt() = %v, want expired and archived", err)
	}
}

// A task of an app that this worker does not serve is requeued, without a failure.
func TestAttempt_UnknownApp_WaitsForAWorkerThatServesIt(t *testing.T) {
	b := newResolverFixture(t, &batchtest.WeChat{})
	p := payloadOf(1, time.Now())
	p.AppID = "wx0000000000000009"
	again, ok := errors.AsType[*requeueError](b.attempt(t, "task-1", p))
	if !ok || again.failure || !strings.Contains(again.Error(), "neither configured") {
		t.Errorf("attempt() = %v, want it back in the queue", again)
	}
}

// A cloudID that appears twice in a payload is requested once.
func TestAttempt_RepeatedCloudID_RequestedOnce(t *testing.T) {
	b := newResolverFixture(t, &batchtest.WeChat{})
	p := payloadOf(1, time.Now())
	p.Items = append(p.Items, p.Items[0])
	if err := b.attempt(t, "task-1", p); err != nil {
		t.Fatal(err)
	}
	if len(b.wechat.Requests) != 1 || len(b.wechat.Requests[0].Items) != 1 {
		t.Errorf("requests %v, want one with one cloudID", b.wechat.Requests)
	}
}

// brokenStore fails its first saves, as a Redis does during a failover.
type brokenStore struct {
	store.Results
	fail int
}

func (s *brokenStore) Save(ctx context.Context, taskID string, records []store.Record) error {
	if s.fail > 0 {
		s.fail--
		return errors.New("connection refused")
	}
	return s.Results.Save(ctx, taskID, records)
}

// A save that fails a few times is retried within the attempt. No cloudID is requested twice.
func TestAttempt_StoreFailsBriefly_NothingIsRequestedTwice(t *testing.T) {
	b := newResolverFixture(t, &batchtest.WeChat{})
	b.resolver.results = &brokenStore{Results: b.results, fail: 3}
	p := payloadOf(5, time.Now())
	if err := b.attempt(t, "task-1", p); err != nil {
		t.Fatalf("attempt() = %v, want nil", err)
	}
	if rec := b.lookup(t, p)[0]; rec.Status != store.Resolved {
		t.Errorf("record = %+v", rec)
	}
	if n := len(b.wechat.Requests); n != 5 {
		t.Errorf("%d requests, want 5", n)
	}
}

// During an upgrade an older worker leaves a task that it cannot read to a newer worker.
func TestProcessTask_Newer_RequeuedForANewerWorker(t *testing.T) {
	b := newResolverFixture(t, &batchtest.WeChat{})
	err := b.ProcessTask(t.Context(), asynq.NewTask(tasks.TypeResolve, []byte(`{"v":2,"items":"changed"}`)))
	again, ok := errors.AsType[*requeueError](err)
	if !ok || attempt.IsFailure(err) || retryDelay(7, err, nil) > 10*time.Second {
		t.Errorf("ProcessTask() = %v, want it back soon and not counted", err)
	}
	if ok && again.open != 0 {
		t.Errorf("%d cloudIDs are open, want none: nothing of it is known", again.open)
	}
}

// A task with a broken payload is archived at once.
func TestProcessTask_Unreadable_Archived(t *testing.T) {
	b := newResolverFixture(t, &batchtest.WeChat{})
	err := b.ProcessTask(t.Context(), asynq.NewTask(tasks.TypeResolve, []byte("{")))
	if !errors.Is(err, asynq.SkipRetry) || !strings.HasPrefix(err.Error(), "payload cannot be read") {
		t.Errorf("ProcessTask() = %v, want archived", err)
	}
}

// Neither the error nor the log of a panic contains the panic's value. The log contains the
// stack.
func TestRecoverPanics_NoValueInTheError(t *testing.T) {
	var said strings.Builder
	h := recoverPanics(slog.New(slog.NewJSONHandler(&said, nil)))(asynq.HandlerFunc(
		func(context.Context, *asynq.Task) error { panic("planted-13812345678") }))
	err := h.ProcessTask(t.Context(), asynq.NewTask("t", nil))
	if !errors.Is(err, errPanic) {
		t.Fatalf("ProcessTask() = %v, want errPanic", err)
	}
	var line map[string]any
	if json.Unmarshal([]byte(said.String()), &line) != nil || line["stack"] == "" {
		t.Errorf("the log has no stack: %s", said.String())
	}
	if strings.Contains(said.String()+err.Error(), "planted") {
		t.Errorf("the panic's value was stored: %s", said.String())
	}
}

// Every cloudID is sent with the time until which the task belongs to this process, counted
// from the start of the attempt.
func TestAttempt_OwnsCloudIDsNoLongerThanTheTask(t *testing.T) {
	b := newResolverFixture(t, &batchtest.WeChat{})
	begun := time.Now()
	if err := b.attempt(t, "task-1", payloadOf(1, begun)); err != nil {
		t.Fatal(err)
	}
	until := b.wechat.Requests[0].Items[0].LeaseUntil
	if until.Before(begun.Add(ownedFor)) || until.After(time.Now().Add(ownedFor)) {
		t.Errorf("owned until %s after the beginning, want %s", until.Sub(begun), ownedFor)
	}
}

// A frozen worker sends no request for a task once other workers may take the task over.
func TestRescuer_LeavesTimeToTheHolder(t *testing.T) {
	if ownedFor >= queue.DeadAfter || attemptFor >= ownedFor {
		t.Errorf("attemptFor %s, ownedFor %s, queue.DeadAfter %s, want them to grow",
			attemptFor, ownedFor, queue.DeadAfter)
	}
}
