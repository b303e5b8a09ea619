package queue_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"cloudidq/internal/queue"
	"cloudidq/internal/redistest"
	"cloudidq/tasks"
)

// put enqueues one task whose cloudIDs have the given ages.
func put(
	t *testing.T, rdb redis.UniversalClient, queue, appID string, ages []time.Duration,
	options ...asynq.Option,
) {
	t.Helper()
	p := tasks.ResolvePayload{AppID: appID, AcceptedAt: time.Now()}
	for i, age := range ages {
		it := tasks.Item{CloudID: fmt.Sprintf("73_%d", i), ObtainedAt: time.Now().Add(-age)}
		p.Items = append(p.Items, it)
	}
	task, err := tasks.NewResolveTask(p, queue)
	if err != nil {
		t.Fatal(err)
	}
	client := asynq.NewClientFromRedisClient(rdb)
	if _, err := client.EnqueueContext(t.Context(), task, options...); err != nil {
		t.Fatal(err)
	}
}

// snapshotOf takes a snapshot and converts times to ages in whole seconds.
func snapshotOf(
	t *testing.T, rdb redis.UniversalClient, name string,
) (queue.Snapshot, map[string]int) {
	t.Helper()
	s, err := queue.TakeSnapshot(t.Context(), rdb, name, 5*time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	ages := make(map[string]int)
	for _, w := range s.Waiting {
		ages[w.AppID] = int(time.Since(w.Since).Seconds())
	}
	return s, ages
}

// A snapshot has tasks in every state. The asynq version of go.mod writes the keys and messages,
// also those of a worker.
func TestSnapshot_EveryState(t *testing.T) {
	begun := time.Now()
	rdb := redistest.Start(t).Client(t)
	empty := queue.Snapshot{Queue: tasks.QueueEvents}
	if s, _ := snapshotOf(t, rdb, tasks.QueueEvents); !cmp.Equal(s, empty) {
		t.Errorf("a queue that is not there = %+v", s)
	}
	put(t, rdb, tasks.QueueEvents, "wxRetry", []time.Duration{40 * time.Second})
	put(t, rdb, tasks.QueueEvents, "wxGone", []time.Duration{50 * time.Second})
	put(t, rdb, tasks.QueueEvents, "wxActive", []time.Duration{30 * time.Second, 35 * time.Second})
	handled, done := make(chan string, 3), make(chan struct{})
	server := asynq.NewServerFromRedisClient(rdb, asynq.Config{
		Concurrency: 3, Queues: map[string]int{tasks.QueueEvents: 1}, LogLevel: asynq.FatalLevel,
		TaskCheckInterval: 10 * time.Millisecond,
		RetryDelayFunc:    func(int, error, *asynq.Task) time.Duration { return time.Hour },
	})
	if err := server.Start(asynq.HandlerFunc(func(_ context.Context, task *asynq.Task) error {
		p, err := tasks.ParseResolve(task.Payload())
		if err != nil {
			return err
		}
		handled <- p.AppID
		switch p.AppID {
		case "wxRetry":
			return errors.New("later")
		case "wxGone":
			return asynq.SkipRetry
		}
		<-done
		return nil
	})); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		<-handled
	}
	server.Stop() // the server fetches no more tasks
	put(t, rdb, tasks.QueueEvents, "wxA",
		[]time.Duration{time.Second, 20 * time.Second, 3 * time.Second})
	put(t, rdb, tasks.QueueEvents, "wxA", []time.Duration{10 * time.Second})
	put(t, rdb, tasks.QueueEvents, "wxLater", []time.Duration{2 * time.Second},
		asynq.ProcessIn(time.Hour))

	var s queue.Snapshot
	var ages map[string]int
	// Wait until asynq has written the results of the handlers.
	for until := time.Now().Add(2 * time.Minute); ; time.Sleep(5 * time.Millisecond) {
		if s, ages = snapshotOf(t, rdb, tasks.QueueEvents); s.Active == 1 || time.Now().After(until) {
			break
		}
	}
	want := queue.Snapshot{
		Queue: tasks.QueueEvents, Pending: 2, Active: 1, Scheduled: 1, Retry: 1, Archived: 1,
	}
	if diff := cmp.Diff(want, s, cmpopts.IgnoreFields(queue.Snapshot{}, "Waiting")); diff != "" {
		t.Errorf("snapshot (-want +got):\n%s", diff)
	}
	wantAges := map[string]int{"wxA": 20, "wxRetry": 40, "wxActive": 35, "wxLater": 2}
	for app, age := range wantAges {
		if ages[app] < age || ages[app] > age+1+int(time.Since(begun).Seconds()) {
			t.Errorf("the oldest of %s is %d s old, want %d", app, ages[app], age)
		}
	}
	if len(ages) != len(wantAges) {
		t.Errorf("seen = %v, want no archived task among them", ages)
	}
	close(done)
	server.Shutdown()
}

// A task still names its cloudIDs that are already final, and a snapshot ignores them. If a task
// has only overdue cloudIDs, no worker has handled it yet, so a snapshot reports it.
func TestSnapshot_FinishedOnesDoNotCount(t *testing.T) {
	rdb := redistest.Start(t).Client(t)
	put(t, rdb, tasks.QueueBackfill, "wxMixed",
		[]time.Duration{time.Hour, 2 * time.Minute, time.Second})
	put(t, rdb, tasks.QueueBackfill, "wxStuck", []time.Duration{time.Hour, 10 * time.Minute})
	_, ages := snapshotOf(t, rdb, tasks.QueueBackfill)
	if ages["wxMixed"]/60 != 2 || ages["wxStuck"]/60 != 10 {
		t.Errorf("ages = %v, want 2 and 10 minutes", ages)
	}
}

// A snapshot reads no more from a long queue than from a short one.
func TestSnapshot_ReadsABoundedSample(t *testing.T) {
	rdb := redistest.Start(t).Client(t)
	put(t, rdb, tasks.QueueEvents, "wxOldest", []time.Duration{time.Minute})
	for i := range 100 {
		put(t, rdb, tasks.QueueEvents, fmt.Sprintf("wx%d", i), []time.Duration{time.Second})
	}
	s, ages := snapshotOf(t, rdb, tasks.QueueEvents)
	if s.Pending != 101 || len(s.Waiting) != 8 || ages["wxOldest"] < 60 {
		t.Errorf("%d pending, %d in the sample, oldest %d s, want 101, 8 and 60",
			s.Pending, len(s.Waiting), ages["wxOldest"])
	}
}

// A snapshot counts tasks of other types and unreadable messages, but does not read them.
func TestSnapshot_TasksOfOtherTypes(t *testing.T) {
	rdb := redistest.Start(t).Client(t)
	client := asynq.NewClientFromRedisClient(rdb)
	other := asynq.NewTask("other", []byte("planted"))
	_, err := client.Enqueue(other, asynq.Queue(tasks.QueueEvents), asynq.TaskID("t1"))
	if err != nil {
		t.Fatal(err)
	}
	for i, message := range []string{"", "\xff", "\x12", "\x12\xff\x01", "\x0a\x01x"} {
		if err := rdb.LPush(t.Context(), "asynq:{events}:pending", fmt.Sprint(i)).Err(); err != nil {
			t.Fatal(err)
		}
		key := "asynq:{events}:t:" + fmt.Sprint(i)
		if err := rdb.HSet(t.Context(), key, "msg", message).Err(); err != nil {
			t.Fatal(err)
		}
	}
	if s, _ := snapshotOf(t, rdb, tasks.QueueEvents); s.Pending != 6 || len(s.Waiting) != 0 {
		t.Errorf("snapshot = %+v", s)
	}
}
