package queue

import (
	"context"
	"errors"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"cloudidq/tasks"
)

// layoutVersion is the version of asynq whose sources this package has been compared with.
const layoutVersion = "v0.26.0"

// After an upgrade of asynq, compare the sources that the comments of this package name, then
// change layoutVersion and the comments. [TestLayout] compares what a test can see.
func TestLayout_VersionOfAsynq(t *testing.T) {
	mod, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(mod), "github.com/hibiken/asynq "+layoutVersion+"\n") {
		t.Errorf("go.mod has another version of asynq than %s", layoutVersion)
	}
}

// The asynq version of go.mod uses the keys, the states and the message fields that layout.go and
// message.go name.
func TestLayout(t *testing.T) {
	b := newEraserFixture(t)
	const queue = tasks.QueueEvents
	p := payloadOf(1, time.Now())
	deadline := time.Now().Add(time.Hour).Truncate(time.Second)
	b.enqueue("retry", p)
	b.enqueue("archived", p)
	b.enqueue("completed", p, asynq.Retention(time.Hour))
	b.serve(3, func(ctx context.Context, _ *asynq.Task) error {
		switch id, _ := asynq.GetTaskID(ctx); id {
		case "retry":
			return errors.New("again")
		case "archived":
			return asynq.SkipRetry
		}
		return nil
	})
	b.enqueue("active", p)
	hanging := newHangingServer(t, func() *asynq.Server {
		return asynq.NewServerFromRedisClient(b.rdb, asynq.Config{
			Concurrency: 1, Queues: map[string]int{queue: 1}, LogLevel: asynq.FatalLevel,
		})
	})
	defer hanging.stop()
	hanging.waitForTasks(t, 1)
	b.enqueue("pending", p, asynq.MaxRetry(7), asynq.Timeout(42*time.Second), asynq.Deadline(deadline))
	b.enqueue("scheduled", p, asynq.ProcessIn(time.Hour))
	b.enqueue("aggregating", p, asynq.Group("group"))
	if err := b.inspector.PauseQueue(queue); err != nil {
		t.Fatal(err)
	}

	checkLists(t, b)
	checkMessages(t, b, p, deadline)

	// The numbers of this package are those of asynq's Inspector.
	want, err := b.inspector.GetQueueInfo(queue)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Count(t.Context(), b.rdb, queue)
	if err != nil {
		t.Fatal(err)
	}
	if got.Pending != want.Pending || got.Active != want.Active || got.Scheduled != want.Scheduled ||
		got.Retry != want.Retry || got.Archived != want.Archived || got.Completed != want.Completed ||
		got.Size != want.Size-want.Aggregating || got.Paused != want.Paused ||
		got.ProcessedTotal != want.ProcessedTotal || got.FailedTotal != want.FailedTotal ||
		(got.Latency-want.Latency).Abs() > time.Minute || got.Latency <= 0 {
		t.Errorf("Count() = %+v, the Inspector says %+v", got, want)
	}
}

// checkLists checks that each task is in the key that lists the tasks of its state, and no task
// in another one. The id of each task is its state.
func checkLists(t *testing.T, b *eraserFixture) {
	t.Helper()
	const queue = tasks.QueueEvents
	for _, state := range []string{statePending, stateActive} {
		ids, err := b.rdb.LRange(t.Context(), stateKey(queue, state), 0, -1).Result()
		if err != nil || !slices.Equal(ids, []string{state}) {
			t.Errorf("the list %s holds %v, %v", state, ids, err)
		}
	}
	sorted := map[string]string{
		leaseKey(queue): stateActive, groupKey(queue, "group"): stateAggregating,
	}
	for _, state := range []string{stateScheduled, stateRetry, stateArchived, stateCompleted} {
		sorted[stateKey(queue, state)] = state
	}
	for key, state := range sorted {
		ids, err := b.rdb.ZRange(t.Context(), key, 0, -1).Result()
		if err != nil || !slices.Equal(ids, []string{state}) {
			t.Errorf("the sorted set %s holds %v, %v, want %s", key, ids, err, state)
		}
	}
	for key, want := range map[string]string{groupsKey(queue): "group", queuesKey: queue} {
		members, err := b.rdb.SMembers(t.Context(), key).Result()
		if err != nil || !slices.Equal(members, []string{want}) {
			t.Errorf("the set %s holds %v, %v, want %s", key, members, err, want)
		}
	}
}

// checkMessages checks the hash and the message of each task. asynq wrote them for payload p.
func checkMessages(t *testing.T, b *eraserFixture, p tasks.ResolvePayload, deadline time.Time) {
	t.Helper()
	states := []string{
		statePending, stateActive, stateScheduled, stateRetry, stateArchived, stateCompleted,
		stateAggregating,
	}
	found, err := readTasks(t.Context(), b.rdb, tasks.QueueEvents, states)
	if err != nil {
		t.Fatal(err)
	}
	failed := make(map[string]bool)
	for i, state := range states {
		m, ok := parseMessage(found[i].message)
		read, err := tasks.ParseResolve(m.payload)
		if !ok || found[i].state != state || m.kind != tasks.TypeResolve ||
			err != nil || read.AppID != p.AppID {
			t.Errorf("the %s task is %+v, %v, want type and payload as enqueued", state, found[i], err)
		}
		if m.lastFailed != 0 {
			failed[state] = true
		}
	}
	if want := map[string]bool{stateRetry: true, stateArchived: true}; !maps.Equal(failed, want) {
		t.Errorf("tasks with a time of failure: %v, want %v", failed, want)
	}
	pending, _ := parseMessage(found[0].message)
	if pending.retry != 7 || pending.deadline != uint64(deadline.Unix()) || !pending.mayGiveUp() {
		t.Errorf("message = %+v, want the options of the producer", pending)
	}
	// asynq reads the options that this package writes.
	message, ok := withOwnOptions(found[0].message)
	if !ok {
		t.Fatal("the message is not understood")
	}
	if done, err := found[0].rewrite(t.Context(), b.rdb, message); err != nil || !done {
		t.Fatalf("rewrite() = %v, %v", done, err)
	}
	info, err := b.inspector.GetTaskInfo(tasks.QueueEvents, statePending)
	if err != nil || info.MaxRetry != tasks.MaxRetry || info.Timeout != tasks.TaskTimeout ||
		!info.Deadline.IsZero() {
		t.Errorf("the Inspector reads %+v, %v, want the options of our own producers", info, err)
	}
}
