package queue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"cloudidq/internal/redistest"
	"cloudidq/tasks"
)

// fakeFinisher finishes all cloudIDs of a task at once, unless open is set.
type fakeFinisher struct {
	open                 Open
	finished, unreadable []string // task ids
}

func (f *fakeFinisher) FinishOverdue(
	_ context.Context, taskID string, _ tasks.ResolvePayload,
) (Open, error) {
	f.finished = append(f.finished, taskID)
	return f.open, nil
}

func (f *fakeFinisher) CountUnreadable(_ context.Context, taskID string) error {
	f.unreadable = append(f.unreadable, taskID)
	return nil
}

// The redactor redacts archived tasks and nothing else. It accesses asynq's own keys. So this test
// lets the asynq version of go.mod archive the tasks, and reads the result by its Inspector.
func TestRedactor_FitsTheLayoutOfAsynq(t *testing.T) {
	rdb := redistest.Start(t).Client(t)
	client := asynq.NewClientFromRedisClient(rdb)
	inspector := asynq.NewInspectorFromRedisClient(rdb)
	const queue, n = tasks.QueueEvents, 2*taskPage + 3
	for range n {
		task, err := tasks.NewResolveTask(payloadOf(2, time.Now().Add(-time.Hour)), queue)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.EnqueueContext(t.Context(), task); err != nil {
			t.Fatal(err)
		}
	}
	for _, task := range []*asynq.Task{
		asynq.NewTask("other", []byte("73_of another type")),
		asynq.NewTask(tasks.TypeResolve, []byte("73_unreadable")),
	} {
		if _, err := client.Enqueue(task, asynq.Queue(queue)); err != nil {
			t.Fatal(err)
		}
	}
	srv := asynq.NewServerFromRedisClient(rdb, asynq.Config{
		Concurrency: 4, Queues: map[string]int{queue: 1}, LogLevel: asynq.FatalLevel,
		TaskCheckInterval: 10 * time.Millisecond,
	})
	if err := srv.Start(asynq.HandlerFunc(func(context.Context, *asynq.Task) error {
		return fmt.Errorf("no data: %w", asynq.SkipRetry)
	})); err != nil {
		t.Fatal(err)
	}
	await(t, "all to be archived", func() bool {
		info, err := inspector.GetQueueInfo(queue)
		return err == nil && info.Archived == n+2
	})
	srv.Shutdown()
	pending, err := tasks.NewResolveTask(payloadOf(1, time.Now()), queue)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.EnqueueContext(t.Context(), pending); err != nil {
		t.Fatal(err)
	}
	finisher := &fakeFinisher{}
	for range 2 { // a second pass changes nothing
		r := NewRedactor(rdb, finisher, slog.New(slog.DiscardHandler))
		if err := r.redactArchived(t.Context(), queue); err != nil {
			t.Fatal(err)
		}
	}
	if len(finisher.finished) != n || len(finisher.unreadable) != 1 {
		t.Errorf("%d tasks were finished and %d counted as unreadable, want %d and 1",
			len(finisher.finished), len(finisher.unreadable), n)
	}
	infos, err := inspector.ListArchivedTasks(queue, asynq.PageSize(n+2))
	if err != nil || len(infos) != n+2 {
		t.Fatalf("%d archived tasks, %v", len(infos), err)
	}
	want := map[string]int{
		fmt.Sprintf(`{"v":0,"redacted":true,"appid":"%s","items":2}`, testApp): n,
		`{"v":0,"redacted":true}`: 1, "73_of another type": 1,
	}
	for _, info := range infos {
		want[string(info.Payload)]--
		if !strings.HasPrefix(info.LastErr, "no data") || info.Queue != queue {
			t.Errorf("task = %+v, want all but the payload as it was", info)
		}
	}
	for payload, left := range want {
		if left != 0 {
			t.Errorf("%d tasks too few or too many with payload %s", left, payload)
		}
	}
	infos, err = inspector.ListPendingTasks(queue)
	if err != nil || len(infos) != 1 || !strings.Contains(string(infos[0].Payload), "73_") {
		t.Errorf("pending tasks = %+v, %v, want them left alone", infos, err)
	}
}

// While an archived task has open cloudIDs, it stays as it is, and is checked again only when the
// next of them may be finished.
func TestRedactor_LeavesATaskWithOpenCloudIDs(t *testing.T) {
	b := newEraserFixture(t)
	b.enqueue("by-hand", payloadOf(2, time.Now()))
	if err := b.inspector.ArchiveTask(tasks.QueueEvents, "by-hand"); err != nil {
		t.Fatal(err)
	}
	finisher := &fakeFinisher{open: Open{CloudIDs: 2, Next: time.Now().Add(time.Hour)}}
	r := NewRedactor(b.rdb, finisher, slog.New(slog.DiscardHandler))
	before := string(b.message("by-hand"))
	for range 3 {
		r.Pass(t.Context())
	}
	if string(b.message("by-hand")) != before || len(finisher.finished) != 1 {
		t.Errorf("the task was checked %d times and is %q, want it once and unchanged",
			len(finisher.finished), b.message("by-hand"))
	}
	finisher.open = Open{}
	r.archives[tasks.QueueEvents].reschedule("by-hand", time.Now())
	r.Pass(t.Context())
	if message := string(b.message("by-hand")); !strings.Contains(message, redactedMark) {
		t.Errorf("the task is %q, want it redacted", message)
	}
}

// A task that asynq has archived because of its producer's options runs again, with the options
// of our own producers. So does a task that waits in a group.
func TestRedactor_AdoptsTasksOfExternalProducers(t *testing.T) {
	b := newEraserFixture(t)
	b.enqueue("given-up", payloadOf(1, time.Now()), asynq.MaxRetry(0))
	b.serve(1, func(context.Context, *asynq.Task) error { return errors.New("again") })
	b.enqueue("grouped", payloadOf(1, time.Now()), asynq.Group("g"))
	if info := b.tasks()["given-up"]; info == nil || info.State != asynq.TaskStateArchived {
		t.Fatalf("task = %+v, want it archived: nothing is proved", info)
	}
	finisher := &fakeFinisher{open: Open{CloudIDs: 1, Next: time.Now().Add(time.Hour)}}
	NewRedactor(b.rdb, finisher, slog.New(slog.DiscardHandler)).Pass(t.Context())
	after := b.tasks()
	info := after["given-up"]
	if info.State != asynq.TaskStateRetry || info.MaxRetry != tasks.MaxRetry {
		t.Errorf("task = %+v, want a retry with the options of our own producers", info)
	}
	if info := after["grouped"]; info == nil || info.State != asynq.TaskStatePending {
		t.Errorf("grouped task = %+v, want it pending", info)
	}
}

// A redacted message is never redacted again.
func FuzzRedact(f *testing.F) {
	f.Add([]byte("\x0a\x0fcloudid:resolve\x12\x0273"))
	f.Fuzz(func(t *testing.T, message []byte) {
		redacted, ok := redact(message)
		if !ok {
			return
		}
		if _, again := redact(redacted); again {
			t.Errorf("%q is redacted twice", message)
		}
	})
}
