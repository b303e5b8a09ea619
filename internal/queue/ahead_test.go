package queue

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"cloudidq/internal/redistest"
	"cloudidq/tasks"
)

// aheadFixture is a queue with tasks that asynq has written.
type aheadFixture struct {
	*testing.T
	rdb *redis.Client
}

// enqueue puts tasks at the end of the queue. The app of a task is the first letter of its id.
func (b *aheadFixture) enqueue(ids ...string) {
	b.Helper()
	for _, id := range ids {
		// The text of an item may look like an appid.
		item := fmt.Sprintf(`{"cloud_id":"73_%s","reference":"\"appid\":\"wx9\""}`, id)
		payload := fmt.Sprintf(`{"v":1, "appid" : "wx%c","items":[%s]}`, id[0], item)
		task := asynq.NewTask(tasks.TypeResolve, []byte(payload))
		_, err := asynq.NewClientFromRedisClient(b.rdb).EnqueueContext(
			b.Context(), task, asynq.TaskID(id), asynq.Queue(tasks.QueueEvents))
		if err != nil {
			b.Fatal(err)
		}
	}
}

// move calls MoveAhead, and checks its result and the order in which tasks will be fetched.
func (b *aheadFixture) move(a Ahead, want Moved, order string) {
	b.Helper()
	moved, err := MoveAhead(b.Context(), b.rdb, tasks.QueueEvents, a)
	if err != nil {
		b.Fatal(err)
	}
	if fmt.Sprintf("%+v", moved) != fmt.Sprintf("%+v", want) {
		b.Errorf("MoveAhead(%+v) = %+v, want %+v", a, moved, want)
	}
	ids, err := b.rdb.LRange(b.Context(), stateKey(tasks.QueueEvents, statePending), 0, -1).Result()
	if err != nil {
		b.Fatal(err)
	}
	slices.Reverse(ids)
	if got := strings.Join(ids, " "); got != order {
		b.Errorf("the order is\n%s, want\n%s", got, order)
	}
}

// As many tasks of other apps go first as may, in their order. A call reads no more tasks than it
// may, and the next call reads on behind them.
func TestMoveAhead_OthersGoFirst(t *testing.T) {
	b := &aheadFixture{t, redistest.Start(t).Client(t)}
	b.enqueue("a0", "a1", "a2", "b0", "a3", "c0", "b1")
	b.move(Ahead{AppID: "wxa", Most: 2, Reads: 2}, Moved{Mark: "a1", Unread: 5},
		"a0 a1 a2 b0 a3 c0 b1")
	b.move(Ahead{AppID: "wxa", Most: 2, Reads: 10, Mark: "a1"},
		Moved{Others: 2, Mark: "a3", Unread: 1}, "b0 c0 a0 a1 a2 a3 b1")
	b.move(Ahead{AppID: "wxa", Most: 2, Reads: 10, Mark: "a3"},
		Moved{Others: 2, Mark: "a3", Unread: 1}, "b0 c0 a0 a1 a2 a3 b1")
	b.move(Ahead{AppID: "wxa", Most: 3, Reads: 10, Mark: "a3"}, Moved{Others: 3, Mark: "a3"},
		"b0 c0 b1 a0 a1 a2 a3")
}

// Tasks to return come back to the head in their order, behind the tasks of other apps. A task
// that is not in the retry set any more stays where it is.
func TestMoveAhead_ReturnsTasksToTheHead(t *testing.T) {
	b := &aheadFixture{t, redistest.Start(t).Client(t)}
	b.enqueue("a0", "a1")
	for _, id := range []string{"a0", "a1"} { // as asynq leaves tasks that wait for a retry
		b.rdb.LRem(t.Context(), stateKey(tasks.QueueEvents, statePending), 1, id)
		b.rdb.HSet(t.Context(), taskKey(tasks.QueueEvents, id), "state", stateRetry)
		due := redis.Z{Score: float64(time.Now().Add(time.Minute).Unix()), Member: id}
		b.rdb.ZAdd(t.Context(), stateKey(tasks.QueueEvents, stateRetry), due)
	}
	b.enqueue("a2", "a3", "b0")
	b.move(Ahead{AppID: "wxa", Most: 1, Reads: 10, Return: []string{"a0", "a1", "a2"}},
		Moved{Others: 1, Mark: "a3", Returned: []string{"a1", "a0"}}, "b0 a0 a1 a2 a3")
	info, err := asynq.NewInspectorFromRedisClient(b.rdb).GetTaskInfo(tasks.QueueEvents, "a0")
	if err != nil || info.State != asynq.TaskStatePending {
		t.Errorf("GetTaskInfo() = %+v, %v, want it pending", info, err)
	}
}
