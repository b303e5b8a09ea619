package queue

import (
	"context"
	_ "embed"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"
)

//go:embed ahead.lua
var aheadLua string

var aheadScript = redis.NewScript(aheadLua)

// Ahead describes one call of [MoveAhead].
type Ahead struct {
	// AppID is the app whose tasks stay where they are: its tasks in flight wait for a slot.
	AppID string
	Most  int // how many tasks of other apps may go first
	Reads int // how many tasks the call reads at most
	// Mark is the last task of the app that an earlier call has read. The call reads on behind
	// it. "" = start at the head of the queue.
	Mark string
	// Return lists the ids of tasks that wait for a retry and belong at the head of the queue,
	// the oldest first.
	Return []string
}

// Moved is the result of [MoveAhead].
type Moved struct {
	Others   int      // tasks of other apps at the head of the queue
	Mark     string   // for the next call
	Unread   int      // tasks behind Mark that no call has read
	Returned []string // tasks of Ahead.Return that are back at the head
}

var errAhead = errors.New("moving tasks ahead: Redis gave an answer of another form")

// MoveAhead reads a part of the pending tasks of a queue, and moves the tasks of other apps to
// its head. Behind them it puts the tasks to return, unless they have come due by themselves.
// The script is atomic, so several processes may call it for the same queue.
func MoveAhead(ctx context.Context, rdb redis.Scripter, queue string, a Ahead) (Moved, error) {
	args := []any{taskPrefix(queue), a.AppID, a.Most, a.Reads, a.Mark}
	for _, id := range a.Return {
		args = append(args, id)
	}
	keys := []string{stateKey(queue, statePending), stateKey(queue, stateRetry)}
	answer, err := aheadScript.Run(ctx, rdb, keys, args...).Slice()
	if err != nil {
		return Moved{}, fmt.Errorf("moving tasks ahead: %w", err)
	}
	if len(answer) < 3 {
		return Moved{}, errAhead
	}
	others, _ := answer[0].(int64)
	unread, _ := answer[2].(int64)
	moved := Moved{Others: int(others), Unread: int(unread)}
	moved.Mark, _ = answer[1].(string)
	for _, value := range answer[3:] {
		id, _ := value.(string)
		moved.Returned = append(moved.Returned, id)
	}
	return moved, nil
}
