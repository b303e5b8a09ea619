package queue

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"cloudidq/internal/redistest"
	"cloudidq/tasks"
)

// The rescuer accesses asynq's own keys. This test lets the asynq version of go.mod write
// the keys, and reads the result by its Inspector and Server. It fails if a new version
// has another layout.
func TestRescuer_FitsTheLayoutOfAsynq(t *testing.T) {
	rdb := redistest.Start(t).Client(t)
	client := asynq.NewClientFromRedisClient(rdb)
	inspector := asynq.NewInspectorFromRedisClient(rdb)
	const queue = tasks.QueueEvents
	for range 3 {
		if _, err := client.Enqueue(asynq.NewTask("t", []byte("p")), asynq.Queue(queue)); err != nil {
			t.Fatal(err)
		}
	}
	hanging := newHangingServer(t, func() *asynq.Server {
		return asynq.NewServerFromRedisClient(rdb, asynq.Config{
			Concurrency: 3, Queues: map[string]int{queue: 1}, LogLevel: asynq.FatalLevel,
			ShutdownTimeout: time.Millisecond,
		})
	})
	hanging.waitForTasks(t, 3)

	// lapsedFor is zero: an expired lease is dead at the second scan.
	r := &Rescuer{
		rdb: rdb, queues: []string{queue}, log: slog.New(slog.DiscardHandler), deadAfter: time.Hour,
	}
	if n, err := r.rescue(t.Context(), queue); n != 0 || err != nil {
		t.Fatalf("rescue() of living tasks = %d, %v, want none", n, err)
	}
	lease := leaseKey(queue)
	ids, err := rdb.ZRange(t.Context(), lease, 0, -1).Result()
	if err != nil || len(ids) != 3 {
		t.Fatalf("the lease key holds %d tasks, %v, want 3: asynq's layout has changed", len(ids), err)
	}
	// The worker of two tasks dies: no heartbeat for 30 s. (A living worker sends one every 5 s.)
	for _, id := range ids[:2] {
		if err := rdb.ZIncrBy(t.Context(), lease, -40, id).Err(); err != nil {
			t.Fatal(err)
		}
	}
	for scan, want := range []int{0, 2} { // the first scan sees that the leases have changed
		if n, err := r.rescue(t.Context(), queue); n != want || err != nil {
			t.Fatalf("scan %d: rescue() = %d, %v, want %d", scan, n, err, want)
		}
	}
	info, err := inspector.GetQueueInfo(queue)
	if err != nil || info.Pending != 2 || info.Active != 1 {
		t.Fatalf("after the rescue: %+v, %v, want 2 pending and 1 active", info, err)
	}
	pending, err := inspector.ListPendingTasks(queue)
	if err != nil || len(pending) != 2 || pending[0].Retried != 0 ||
		string(pending[0].Payload) != "p" {
		t.Fatalf("pending tasks = %+v, %v, want the two, no retry burnt", pending, err)
	}
	hanging.stop()

	began := make(chan string, 3)
	srv := asynq.NewServerFromRedisClient(rdb, asynq.Config{
		Concurrency: 1, Queues: map[string]int{queue: 1}, LogLevel: asynq.FatalLevel,
		TaskCheckInterval: 10 * time.Millisecond,
	})
	if err := srv.Start(asynq.HandlerFunc(func(ctx context.Context, _ *asynq.Task) error {
		id, _ := asynq.GetTaskID(ctx)
		began <- id
		return nil
	})); err != nil {
		t.Fatal(err)
	}
	defer srv.Shutdown()
	for lacking := map[string]bool{ids[0]: true, ids[1]: true}; len(lacking) > 0; {
		select {
		case id := <-began:
			delete(lacking, id)
		case <-time.After(2 * time.Minute):
			t.Fatal("the rescued tasks do not come again")
		}
	}
}

// A task whose hash is gone does not stop the rescue of other tasks.
func TestRescuer_DropsWhatIsGone(t *testing.T) {
	rdb := redistest.Start(t).Client(t)
	prefix := "asynq:{" + tasks.QueueEvents + "}:"
	ctx := t.Context()
	rdb.LPush(ctx, prefix+"active", "gone", "there")
	rdb.HSet(ctx, prefix+"t:there", "state", "active", "msg", "m")
	for _, id := range []string{"gone", "there"} {
		rdb.ZIncrBy(ctx, prefix+"lease", 1, id)
	}
	// A lease that is unchanged at the second scan is dead.
	r := &Rescuer{rdb: rdb, log: slog.New(slog.DiscardHandler)}
	for scan, want := range []int{0, 1} {
		if n, err := r.rescue(ctx, tasks.QueueEvents); n != want || err != nil {
			t.Fatalf("scan %d: rescue() = %d, %v, want %d", scan, n, err, want)
		}
	}
	if n := rdb.Exists(ctx, rescueKey(tasks.QueueEvents)).Val(); n != 0 {
		t.Error("what was seen of leases that are gone is still remembered")
	}
	if left := rdb.LLen(ctx, prefix+"active").Val() + rdb.ZCard(ctx, prefix+"lease").Val(); left != 0 {
		t.Errorf("%d entries of dead tasks are left", left)
	}
	if state := rdb.HGet(ctx, prefix+"t:there", "state").Val(); state != "pending" {
		t.Errorf("state = %q, want pending", state)
	}
}

// The clock of a worker does not matter. If it is far behind Redis's clock, the leases of the
// worker look expired as soon as they are written. The worker is alive as long as they change. If
// the clock is ahead, the worker is dead once its leases stop changing, however late they expire.
func TestRescuer_ClockOfTheWorkerHasNoSay(t *testing.T) {
	rdb := redistest.Start(t).Client(t)
	prefix, ctx := "asynq:{"+tasks.QueueEvents+"}:", t.Context()
	rdb.LPush(ctx, prefix+"active", "behind", "ahead")
	for _, id := range []string{"behind", "ahead"} {
		rdb.HSet(ctx, prefix+"t:"+id, "state", "active", "msg", "m")
	}
	beat := func(id string, skew time.Duration, n int) {
		expiry := time.Now().Add(30*time.Second + skew + 5*time.Duration(n)*time.Second)
		rdb.ZAdd(ctx, prefix+"lease", redis.Z{Score: float64(expiry.Unix()), Member: id})
	}
	beat("ahead", 10*time.Minute, 0)
	// A lease that is unchanged at the second scan is dead.
	r := &Rescuer{rdb: rdb, log: slog.New(slog.DiscardHandler), deadAfter: 0, lapsedFor: 0}
	want := []int{0, 1, 0, 0, 0, 0}
	for n := range want {
		beat("behind", -10*time.Minute, n)
		if got, err := r.rescue(ctx, tasks.QueueEvents); got != want[n] || err != nil {
			t.Errorf("scan %d: rescue() = %d, %v, want %d", n, got, err, want[n])
		}
	}
	if state := rdb.HGet(ctx, prefix+"t:ahead", "state").Val(); state != "pending" {
		t.Errorf("state of the dead worker's task = %q, want pending", state)
	}
	if state := rdb.HGet(ctx, prefix+"t:behind", "state").Val(); state != "active" {
		t.Errorf("state of the living worker's task = %q, want active", state)
	}
}

// hangingServer holds its tasks until stop.
type hangingServer struct {
	srv     *asynq.Server
	release chan struct{}
	fetched chan struct{}
}

func newHangingServer(t *testing.T, open func() *asynq.Server) *hangingServer {
	t.Helper()
	h := &hangingServer{srv: open(), release: make(chan struct{}), fetched: make(chan struct{}, 100)}
	if err := h.srv.Start(asynq.HandlerFunc(func(context.Context, *asynq.Task) error {
		h.fetched <- struct{}{}
		<-h.release
		return nil
	})); err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *hangingServer) waitForTasks(t *testing.T, n int) {
	t.Helper()
	for range n {
		select {
		case <-h.fetched:
		case <-time.After(2 * time.Minute):
			t.Fatal("the tasks do not come")
		}
	}
}

// stop releases the tasks. It first stops the server from fetching, so that this server does
// not take the tasks that another one is to get.
func (h *hangingServer) stop() {
	h.srv.Stop()
	close(h.release)
	h.srv.Shutdown()
}
