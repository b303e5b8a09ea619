package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"

	"cloudidq/store"
	"cloudidq/tasks"
)

// Eraser is a store whose Erase reaches into the queues as well: there the cloudIDs of a person wait, unsealed, until a
// worker comes for them.
//
// What waits there was accepted before the erasure, so no moments are compared: the producer's clock may be wrong. A task
// that a worker is trying stays as it is: the store refuses the person's cloudIDs in it, and the worker takes them out if
// the task comes back ([redactor]).
type Eraser struct {
	store.Results
	rdb redis.UniversalClient
}

// NewEraser returns an eraser over a store and the Redis of the queues, both of which stay the caller's to close.
func NewEraser(results store.Results, rdb redis.UniversalClient) *Eraser {
	return &Eraser{results, rdb}
}

// Erase implements [store.Results]. The number is that of the records; what was still in a queue has none. It may be
// repeated after an error.
func (e *Eraser) Erase(ctx context.Context, appID, openID string) (int, error) {
	one := subject{appID, openID}
	n, err := e.Results.Erase(ctx, appID, openID)
	if err != nil {
		return 0, err
	}
	for _, queue := range resolveQueues {
		if err := e.eraseQueue(ctx, queue, one); err != nil {
			return n, fmt.Errorf("erasing a person from queue %s: %w", queue, err)
		}
	}
	return n, nil
}

// subject is whom to erase.
type subject struct{ appID, openID string }

// eraseQueue goes through the tasks of a queue, in the order in which they move on there, so that none is missed on its
// way. One that is being tried goes back to where the walk has been: so those are read first, and what has come back is
// read again behind them. Neither does the order of reading miss one: a list is read from the end at which tasks come, and
// a sorted set by its cursor.
func (e *Eraser) eraseQueue(ctx context.Context, queue string, one subject) error {
	if err := e.eraseGroups(ctx, queue, one); err != nil {
		return err
	}
	for _, state := range []string{
		stateActive, stateScheduled, stateRetry, statePending, stateActive, stateRetry, stateArchived, stateCompleted,
	} {
		list := e.eraseSorted
		if state == stateActive || state == statePending {
			list = e.eraseList
		}
		if err := list(ctx, queue, "asynq:{"+queue+"}:"+state, one); err != nil {
			return err
		}
	}
	return nil
}

// eraseGroups goes through what waits in groups of asynq's until a worker runs it ([redactor]).
func (e *Eraser) eraseGroups(ctx context.Context, queue string, one subject) error {
	prefix := "asynq:{" + queue + "}:"
	groups, err := e.rdb.SMembers(ctx, prefix+"groups").Result()
	if err != nil {
		return fmt.Errorf("listing groups: %w", err)
	}
	for _, group := range groups {
		if err := e.eraseSorted(ctx, queue, prefix+"g:"+group, one); err != nil {
			return err
		}
	}
	return nil
}

// eraseList reads page by page. What has left the list from a place that the walk has passed, as a task does that goes
// ahead of others (ahead.lua), moves all behind it towards the walk. So a page begins within the one before; if nothing of
// that is in it, the walk goes back.
func (e *Eraser) eraseList(ctx context.Context, queue, key string, one subject) error {
	const step = queuedPage / 2
	var before []string
	for at := int64(0); ; {
		ids, err := e.rdb.LRange(ctx, key, at, at+queuedPage-1).Result()
		if err != nil {
			return fmt.Errorf("listing tasks: %w", err)
		}
		fresh, follows := without(ids, before)
		if err := e.eraseTasks(ctx, queue, fresh, one); err != nil {
			return err
		}
		switch {
		case at > 0 && !follows:
			at = max(0, at-step)
		case len(ids) < queuedPage:
			return nil
		default:
			before, at = ids, at+step
		}
	}
}

// without returns the ids that are not in the page before, and whether the first half of them has any that are.
func without(ids, before []string) (fresh []string, follows bool) {
	known := make(map[string]bool, len(before))
	for _, id := range before {
		known[id] = true
	}
	for i, id := range ids {
		if !known[id] {
			fresh = append(fresh, id)
		} else if i < queuedPage/2 {
			follows = true
		}
	}
	return fresh, follows
}

func (e *Eraser) eraseSorted(ctx context.Context, queue, key string, one subject) error {
	for cursor := uint64(0); ; {
		pairs, next, err := e.rdb.ZScan(ctx, key, cursor, "", queuedPage).Result()
		if err != nil {
			return fmt.Errorf("listing tasks: %w", err)
		}
		ids := make([]string, 0, len(pairs)/2)
		for i := 0; i < len(pairs); i += 2 { // behind each stands its score
			ids = append(ids, pairs[i])
		}
		if err := e.eraseTasks(ctx, queue, ids, one); err != nil {
			return err
		}
		if cursor = next; cursor == 0 {
			return nil
		}
	}
}

// eraseTries is how often a task is read again that changes meanwhile, as one does that comes back from a worker.
const eraseTries = 5

var errRestless = errors.New("a task changes faster than it can be written")

func (e *Eraser) eraseTasks(ctx context.Context, queue string, ids []string, one subject) error {
	for range eraseTries {
		found, err := readTasks(ctx, e.rdb, queue, ids)
		if err != nil {
			return err
		}
		ids = ids[:0:0]
		for i := range found {
			switch done, err := e.eraseTask(ctx, &found[i], one); {
			case err != nil:
				return err
			case !done:
				ids = append(ids, found[i].id)
			}
		}
		if len(ids) == 0 {
			return nil
		}
	}
	return errRestless
}

// eraseTask takes the person out of one task, and reports false if it is to be read again.
func (e *Eraser) eraseTask(ctx context.Context, task *queuedTask, one subject) (bool, error) {
	if !one.mayBeIn(task.message) {
		return true, nil
	}
	var gone []store.Record
	message, ok := withPayload([]byte(task.message), func(payload []byte) (changed []byte, ok bool) {
		changed, gone, ok = one.takeOut(payload, task.state)
		return changed, ok
	})
	if !ok {
		return true, nil
	}
	// First the tombstones, then the task: what is in neither would come as a new one if it were asked for again.
	if err := e.bury(ctx, task.id, one.appID, gone); err != nil {
		return false, err
	}
	if task.state == stateActive {
		return true, nil
	}
	return task.rewrite(ctx, e.rdb, message)
}

// mayBeIn is quick: most tasks of a queue are others'. What is escaped has to be looked at.
func (s *subject) mayBeIn(message string) bool {
	return strings.Contains(message, s.openID) || strings.Contains(message, `\`)
}

// takeOut returns a payload without the person, and what was in it of that one. A payload that is kept though it is done,
// or that no worker can read, loses all that it holds; an archived one may have open cloudIDs of others ([redactor]). It
// reports false if the person is not in it, or if a newer worker is to read it.
func (s *subject) takeOut(payload []byte, state string) (changed []byte, gone []store.Record, ok bool) {
	p, err := tasks.ParseResolve(payload)
	switch {
	case errors.Is(err, tasks.ErrNewer):
		return nil, nil, false
	case err != nil:
		changed, ok = redactPayload(payload)
		return changed, nil, ok && strings.Contains(string(payload), s.openID)
	case p.AppID != s.appID:
		return nil, nil, false
	}
	for _, it := range p.TakeOut(func(it tasks.Item) bool { return it.OpenID == s.openID }) {
		// Without a moment of acceptance it counts as accepted before any erasure.
		gone = append(gone, store.Record{AppID: s.appID, OpenID: s.openID, CloudID: it.CloudID, Status: store.Pending})
	}
	if len(gone) == 0 {
		return nil, nil, false
	}
	if state == stateCompleted {
		changed, ok = redactPayload(payload)
		return changed, gone, ok
	}
	changed, err = json.Marshal(p)
	return changed, gone, err == nil
}

// bury has the store refuse cloudIDs of an erased person that it does not know yet. A claim does that: what was accepted
// before the erasure becomes a tombstone, and a record that is under nobody's name, or another's, stays.
func (e *Eraser) bury(ctx context.Context, taskID, appID string, gone []store.Record) error {
	claim, seen := store.Claim{AppID: appID, TaskID: taskID}, make(map[string]bool, len(gone))
	for i := range gone {
		if id := gone[i].CloudID; !seen[id] {
			seen[id] = true
			claim.Records = append(claim.Records, gone[i])
		}
	}
	_, err := e.Claim(ctx, claim)
	return err
}
