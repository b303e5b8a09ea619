package queue

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"cloudidq/store"
	"cloudidq/tasks"
)

// afterPage is a Redis hook that calls do once, after the first page of a list was read.
type afterPage struct {
	redis.Hook
	list string
	do   func()
}

// DialHook implements [redis.Hook].
func (*afterPage) DialHook(next redis.DialHook) redis.DialHook { return next }

// ProcessPipelineHook implements [redis.Hook].
func (*afterPage) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// ProcessHook implements [redis.Hook].
func (a *afterPage) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if do := a.do; do != nil && cmd.Name() == "lrange" && cmd.Args()[1] == a.list {
			a.do = nil
			do()
		}
		return err
	}
}

// While the eraser reads the queue, tasks that it has read may move ahead of others
// (ahead.lua), or be fetched or deleted. All later tasks then change their position. The eraser
// must not skip any of them.
func TestEraser_TasksGoAheadDuringTheWalk_NoneIsMissed(t *testing.T) {
	const n = 3*taskPage + 3
	for name, moved := range map[string]int{"Few": taskPage / 4, "MoreThanHalfAPage": taskPage - 1} {
		for what, back := range map[string]bool{"GoAhead": true, "Deleted": false} {
			t.Run(name+what, func(t *testing.T) {
				b := newEraserFixture(t)
				pending := stateKey(tasks.QueueEvents, statePending)
				for i := range n {
					b.enqueue(fmt.Sprint("pending-", i), mixed(fmt.Sprint(i), 1, time.Now()))
				}
				hooked := redis.NewClient(b.rdb.Options())
				defer func() { _ = hooked.Close() }()
				hooked.AddHook(&afterPage{list: pending, do: func() {
					read := b.rdb.LRange(t.Context(), pending, 0, int64(moved-1)).Val()
					slices.Reverse(read)
					for _, id := range read {
						b.rdb.LRem(t.Context(), pending, 1, id)
						if back {
							b.rdb.RPush(t.Context(), pending, id)
						}
					}
				}})
				if _, err := NewEraser(b.results, hooked).Erase(t.Context(), testApp, planted); err != nil {
					t.Fatal(err)
				}
				missed := 0
				for _, task := range b.tasks() {
					if strings.Contains(string(task.Payload), planted) {
						missed++
					}
				}
				if missed > 0 {
					t.Errorf("%d tasks still hold the user, want none", missed)
				}
			})
		}
	}
}

// An external producer may put a task into a group. It waits there while no worker runs, and an
// erasure finds it.
func TestEraser_GroupedTask_LosesThePerson(t *testing.T) {
	b := newEraserFixture(t)
	b.enqueue("grouped", mixed("grouped", 2, time.Time{}), asynq.Group("g"))
	if _, err := NewEraser(b.results, b.rdb).Erase(t.Context(), testApp, planted); err != nil {
		t.Fatal(err)
	}
	if all := b.everything(); strings.Contains(all, "PLANTED") {
		t.Error("Redis still holds the user")
	}
	claimed, err := b.results.Claim(t.Context(), store.Claim{
		AppID: testApp, TaskID: "grouped", Records: []store.Record{{
			AppID: testApp, OpenID: planted, CloudID: "73_PLANTED_grouped_0", Status: store.Pending,
			AcceptedAt: store.At(time.Now()),
		}},
	})
	if err != nil || claimed[0].State != store.Erased {
		t.Errorf("claimed = %v, %v, want the cloudID erased", claimed, err)
	}
}
