package worker

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"cloudidq/internal/attempt"
	"cloudidq/internal/redistest"
	"cloudidq/store"
	"cloudidq/tasks"
)

// The redactor redacts archived tasks and nothing else. It accesses asynq's own keys. So this test
// lets the asynq version of go.mod archive the tasks, and reads the result by its Inspector.
func TestRedactor_FitsTheLayoutOfAsynq(t *testing.T) {
	rdb := redistest.Start(t).Client(t)
	client := asynq.NewClientFromRedisClient(rdb)
	inspector := asynq.NewInspectorFromRedisClient(rdb)
	const queue, n = tasks.QueueEvents, 2*queuedPage + 3
	for range n {
		task, err := tasks.NewResolveTask(payloadOf(2, time.Now().Add(-time.Hour)), queue)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.EnqueueContext(t.Context(), task); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := client.Enqueue(asynq.NewTask("other", []byte("73_of another type")), asynq.Queue(queue)); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Enqueue(asynq.NewTask(tasks.TypeResolve, []byte("73_unreadable")), asynq.Queue(queue)); err != nil {
		t.Fatal(err)
	}
	srv := asynq.NewServerFromRedisClient(rdb, asynq.Config{
		Concurrency: 4, Queues: map[string]int{queue: 1}, TaskCheckInterval: 10 * time.Millisecond, LogLevel: asynq.FatalLevel,
	})
	if err := srv.Start(asynq.HandlerFunc(func(context.Context, *asynq.Task) error { return attempt.Archive("no data") })); err != nil {
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
	for range 2 { // a second pass changes nothing
		r := newRedactor(rdb, slog.New(slog.DiscardHandler))
		r.ends = &resolver{lifetime: time.Minute, results: store.NewRedis(rdb, time.Hour), activity: noActivity{}, log: r.log}
		if err := r.redactQueue(t.Context(), queue); err != nil {
			t.Fatal(err)
		}
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
	if infos, err := inspector.ListPendingTasks(queue); err != nil || len(infos) != 1 || !strings.Contains(string(infos[0].Payload), "73_") {
		t.Errorf("pending tasks = %+v, %v, want them left alone", infos, err)
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
