package worker

import (
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"cloudidq/internal/redistest"
	"cloudidq/tasks"
)

// aheadFixture is a queue with tasks that asynq has written, and an ahead that scans it.
type aheadFixture struct {
	*testing.T
	rdb *redis.Client
	*ahead
}

func newAheadFixture(t *testing.T, slots int) *aheadFixture {
	rdb := redistest.Start(t).Client(t)
	return &aheadFixture{t, rdb, &ahead{
		rdb: rdb, queue: tasks.QueueEvents, shares: newShares(true, map[string]int{tasks.QueueEvents: slots}), log: slog.New(slog.DiscardHandler),
	}}
}

// enqueue puts one task of an app at the end of the queue.
func (b *aheadFixture) enqueue(appID, id string) {
	b.Helper()
	payload := fmt.Sprintf(`{"v":1, "appid" : %q,"items":[{"cloud_id":"73_%s","reference":"\"appid\":\"wx9\""}]}`, appID, id)
	_, err := asynq.NewClientFromRedisClient(b.rdb).EnqueueContext(b.Context(),
		asynq.NewTask(tasks.TypeResolve, []byte(payload)), asynq.TaskID(id), asynq.Queue(b.queue))
	if err != nil {
		b.Fatal(err)
	}
}

// order returns the ids of the tasks in the order in which they will be fetched.
func (b *aheadFixture) order() []string {
	b.Helper()
	ids, err := b.rdb.LRange(b.Context(), "asynq:{"+b.queue+"}:pending", 0, -1).Result()
	if err != nil {
		b.Fatal(err)
	}
	slices.Reverse(ids)
	return ids
}

// scanOnce makes one scan.
func (b *aheadFixture) scanOnce() {
	b.Helper()
	if err := b.scan(b.Context()); err != nil {
		b.Fatal(err)
	}
}

func (b *aheadFixture) wantOrder(want string) {
	b.Helper()
	if got := strings.Join(b.order(), " "); got != want {
		b.Errorf("the order is\n%s, want\n%s", got, want)
	}
}

// Tasks of other apps move in front of the tasks of the app that waits for its share, both in
// their order. As many move as there are waiting tasks to make way.
func TestAhead_OthersGoFirst(t *testing.T) {
	b := newAheadFixture(t, 8)
	for i := range 5 {
		b.enqueue("wx1", fmt.Sprint("a", i))
	}
	b.enqueue("wx2", "b0")
	b.enqueue("wx1", "a5")
	b.enqueue("wx3", "c0")
	b.enqueue("wx2", "b1")
	b.scanOnce()
	b.wantOrder("a0 a1 a2 a3 a4 b0 a5 c0 b1") // no task waits
	places := enterAll(b.shares, 8)           // two of the tasks wait
	b.scanOnce()
	b.wantOrder("b0 c0 a0 a1 a2 a3 a4 a5 b1")
	if places[6].wait(t.Context(), 0) || places[7].wait(t.Context(), 0) {
		t.Error("the waiting tasks have not yielded")
	}
	enterAll(b.shares, 2)
	b.scanOnce()
	b.wantOrder("b0 c0 a0 a1 a2 a3 a4 a5 b1") // as many as can be fetched are first already
}

// Tasks that have yielded are back at the head after one scan. They are in their order, behind
// the tasks to which they yielded.
func TestAhead_YieldedTasksReturnToTheHead(t *testing.T) {
	b := newAheadFixture(t, 8)
	for _, id := range []string{"a0", "a1"} {
		b.enqueue("wx1", id)
	}
	inspector := asynq.NewInspectorFromRedisClient(b.rdb)
	for _, id := range []string{"a0", "a1"} { // as asynq leaves tasks that wait for a retry
		key := "asynq:{" + b.queue + "}:"
		b.rdb.LRem(t.Context(), key+"pending", 1, id)
		b.rdb.HSet(t.Context(), key+"t:"+id, "state", "retry")
		b.rdb.ZAdd(t.Context(), key+"retry", redis.Z{Score: float64(time.Now().Add(delayShare).Unix()), Member: id})
	}
	for _, id := range []string{"a2", "a3"} {
		b.enqueue("wx1", id)
	}
	b.enqueue("wx2", "b0")
	b.rdb.LMove(t.Context(), "asynq:{events}:pending", "asynq:{events}:pending", "LEFT", "RIGHT")
	places := enterAll(b.shares, 8)
	places[7].yield("a1")
	places[6].yield("a0")
	b.scanOnce()
	b.wantOrder("b0 a0 a1 a2 a3")
	info, err := inspector.GetTaskInfo(b.queue, "a0")
	if err != nil || info.State != asynq.TaskStatePending {
		t.Errorf("GetTaskInfo() = %+v, %v, want it pending", info, err)
	}
	if _, _, back := b.shares.crowd(b.queue, time.Now()); len(back) != 0 {
		t.Errorf("%v are looked for still", back)
	}
}

// A scan reads each task of a backlog once. After that it reads only new tasks.
func TestAhead_ReadsATaskOnce(t *testing.T) {
	b := newAheadFixture(t, 8)
	const n = 4 * aheadReads
	for i := range n {
		b.enqueue("wx1", fmt.Sprintf("a%03d", i))
	}
	enterAll(b.shares, 8)
	for range 6 {
		b.scanOnce()
	}
	if through := hgets(t, b.rdb); through > n+6 {
		t.Errorf("%d tasks were read in a backlog of %d", through, n)
	}
	if !b.shares.rooms[b.queue].nobody {
		t.Error("it is not known that no other app has tasks")
	}
	b.rdb.ConfigResetStat(t.Context())
	b.enqueue("wx1", "late")
	for range 10 {
		b.scanOnce()
	}
	if again := hgets(t, b.rdb); again > 10+1 {
		t.Errorf("%d tasks were read in 10 scans after one has come, want it and the queue's head", again)
	}
	b.enqueue("wx2", "b0")
	b.scanOnce()
	if got := b.order()[0]; got != "b0" {
		t.Errorf("%s is first, want the task of the other app", got)
	}
}

// hgets returns how many tasks the scripts have read.
func hgets(t *testing.T, rdb *redis.Client) int { return calls(t, rdb, "hget") }

// calls returns how often Redis has run a command.
func calls(t *testing.T, rdb *redis.Client, command string) int {
	t.Helper()
	_, stats, _ := strings.Cut(rdb.Info(t.Context(), "commandstats").Val(), "cmdstat_"+command+":calls=")
	count, _, _ := strings.Cut(stats, ",")
	n, _ := strconv.Atoi(count)
	return n
}
