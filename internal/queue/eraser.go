package queue

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

// Eraser is a store whose Erase also removes a user from the queues. The queued tasks hold
// cloudIDs and openids unsealed.
//
// Erase does not compare times, because the clock of a producer may be wrong. Every task that
// it finds in a queue counts as accepted before the erasure. A task in flight stays as it is:
// the store refuses the user's cloudIDs in it. If asynq requeues the task, the worker removes
// them from it ([Redactor.Defer]).
type Eraser struct {
	store.Results
	rdb redis.UniversalClient
}

// NewEraser returns an Eraser over a store and the Redis of the queues. The caller closes both.
func NewEraser(results store.Results, rdb redis.UniversalClient) *Eraser {
	return &Eraser{results, rdb}
}

// Erase implements [store.Results]. It returns the number of erased records. CloudIDs that were
// only in a queue have no record and are not counted. After an error, Erase may be repeated.
func (e *Eraser) Erase(ctx context.Context, appID, openID string) (int, error) {
	u := user{appID, openID}
	n, err := e.Results.Erase(ctx, appID, openID)
	if err != nil {
		return 0, err
	}
	for _, queue := range WithCloudIDs() {
		if err := e.eraseQueue(ctx, queue, u); err != nil {
			return n, fmt.Errorf("erasing a user from queue %s: %w", queue, err)
		}
	}
	return n, nil
}

// user is the user to erase.
type user struct{ appID, openID string }

// eraseQueue removes the user from all tasks of a queue. It misses no task that changes its
// state meanwhile:
//
//   - It reads the states in the order in which tasks pass through them.
//   - An active task may return to a state that was read already. So active tasks are read first,
//     and once more after pending. The retry set is read again after that.
//   - A list is read from the end at which tasks are added, and a sorted set by cursor.
func (e *Eraser) eraseQueue(ctx context.Context, queue string, u user) error {
	if err := e.eraseGroups(ctx, queue, u); err != nil {
		return err
	}
	for _, state := range []string{
		stateActive, stateScheduled, stateRetry, statePending, stateActive, stateRetry,
		stateArchived, stateCompleted,
	} {
		list := e.eraseSorted
		if state == stateActive || state == statePending {
			list = e.eraseList
		}
		if err := list(ctx, queue, stateKey(queue, state), u); err != nil {
			return err
		}
	}
	return nil
}

// eraseGroups removes the user from tasks that wait in a group of asynq until a worker runs
// them ([Redactor]).
func (e *Eraser) eraseGroups(ctx context.Context, queue string, u user) error {
	groups, err := e.rdb.SMembers(ctx, groupsKey(queue)).Result()
	if err != nil {
		return fmt.Errorf("listing groups: %w", err)
	}
	for _, group := range groups {
		if err := e.eraseSorted(ctx, queue, groupKey(queue, group), u); err != nil {
			return err
		}
	}
	return nil
}

// eraseList reads a list of tasks page by page. A task may leave the list from a position that
// was read already, for example if ahead.lua moves it ahead of others. All tasks behind it then
// move one position towards the start, and the next page could miss one. So consecutive pages
// overlap by half. If the first half of a page has no task of the previous page, eraseList goes
// back half a page.
func (e *Eraser) eraseList(ctx context.Context, queue, key string, u user) error {
	const step = taskPage / 2
	var before []string
	for at := int64(0); ; {
		ids, err := e.rdb.LRange(ctx, key, at, at+taskPage-1).Result()
		if err != nil {
			return fmt.Errorf("listing tasks: %w", err)
		}
		fresh, follows := without(ids, before)
		if err := e.eraseTasks(ctx, queue, fresh, u); err != nil {
			return err
		}
		switch {
		case at > 0 && !follows:
			at = max(0, at-step)
		case len(ids) < taskPage:
			return nil
		default:
			before, at = ids, at+step
		}
	}
}

// without returns the ids that are not in the previous page. follows reports whether the first
// half of ids has any that are in it.
func without(ids, before []string) (fresh []string, follows bool) {
	known := make(map[string]bool, len(before))
	for _, id := range before {
		known[id] = true
	}
	for i, id := range ids {
		if !known[id] {
			fresh = append(fresh, id)
		} else if i < taskPage/2 {
			follows = true
		}
	}
	return fresh, follows
}

// eraseSorted reads a sorted set of tasks by cursor.
func (e *Eraser) eraseSorted(ctx context.Context, queue, key string, u user) error {
	for cursor := uint64(0); ; {
		pairs, next, err := e.rdb.ZScan(ctx, key, cursor, "", taskPage).Result()
		if err != nil {
			return fmt.Errorf("listing tasks: %w", err)
		}
		ids := make([]string, 0, len(pairs)/2)
		for i := 0; i < len(pairs); i += 2 { // each id is followed by its score
			ids = append(ids, pairs[i])
		}
		if err := e.eraseTasks(ctx, queue, ids, u); err != nil {
			return err
		}
		if cursor = next; cursor == 0 {
			return nil
		}
	}
}

// eraseReads is the maximum number of reads of a task that changes meanwhile, for example
// because a worker requeues it.
const eraseReads = 5

var errChanging = errors.New("a task changes faster than it can be written")

// eraseTasks removes the user from the tasks with these ids. It returns errChanging if a task
// has changed at each of eraseReads reads.
func (e *Eraser) eraseTasks(ctx context.Context, queue string, ids []string, u user) error {
	for range eraseReads {
		found, err := readTasks(ctx, e.rdb, queue, ids)
		if err != nil {
			return err
		}
		ids = ids[:0:0]
		for i := range found {
			switch done, err := e.eraseTask(ctx, &found[i], u); {
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
	return errChanging
}

// eraseTask removes the user from one task. It reports false if the task has changed and
// must be read again.
func (e *Eraser) eraseTask(ctx context.Context, t *task, u user) (bool, error) {
	if !u.mayBeIn(t.message) {
		return true, nil
	}
	var removed []store.Record
	message, ok := withPayload([]byte(t.message), func(payload []byte) (changed []byte, ok bool) {
		changed, removed, ok = u.removeFrom(payload, t.state)
		return changed, ok
	})
	if !ok {
		return true, nil
	}
	// The tombstones come before the task. A cloudID that is in neither would count as new if a
	// producer submitted it again.
	if err := e.addTombstones(ctx, t.id, u.appID, removed); err != nil {
		return false, err
	}
	// The worker that holds an active task would overwrite a change of it.
	if t.state == stateActive {
		return true, nil
	}
	return t.rewrite(ctx, e.rdb, message)
}

// mayBeIn is a quick check whether a task may contain the user. Most tasks of a queue do not. A
// message with a backslash may contain the openid in escaped form, so it has to be parsed.
func (u *user) mayBeIn(message string) bool {
	return strings.Contains(message, u.openID) || strings.Contains(message, `\`)
}

// removeFrom returns a payload without the user, and a record for each of the user's cloudIDs in
// it.
//
// The payload of a completed task, and one that no worker can read, is redacted as a whole. The
// payload of an archived task is not, because it may hold open cloudIDs of other users
// ([Redactor]). removeFrom reports false if the payload does not contain the user, or if it is of
// a newer version that only a newer worker can read.
func (u *user) removeFrom(
	payload []byte, state string,
) (changed []byte, removed []store.Record, ok bool) {
	p, err := tasks.ParseResolve(payload)
	switch {
	case errors.Is(err, tasks.ErrNewer):
		return nil, nil, false
	case err != nil:
		changed, ok = redactPayload(payload)
		return changed, nil, ok && strings.Contains(string(payload), u.openID)
	case p.AppID != u.appID:
		return nil, nil, false
	}
	for _, it := range p.TakeOut(func(it tasks.Item) bool { return it.OpenID == u.openID }) {
		// A record without AcceptedAt counts as accepted before any erasure.
		removed = append(removed, store.Record{
			AppID: u.appID, OpenID: u.openID, CloudID: it.CloudID, Status: store.Pending,
		})
	}
	if len(removed) == 0 {
		return nil, nil, false
	}
	if state == stateCompleted {
		changed, ok = redactPayload(payload)
		return changed, removed, ok
	}
	changed, err = json.Marshal(p)
	return changed, removed, err == nil
}

// addTombstones makes the store refuse the cloudIDs of an erased user that it does not know yet.
// It does so by a claim, which turns a cloudID that was accepted before the erasure into a
// tombstone. A record with no user, or of another user, stays.
func (e *Eraser) addTombstones(
	ctx context.Context, taskID, appID string, removed []store.Record,
) error {
	// A task may repeat a cloudID, a claim may not.
	claim, seen := store.Claim{AppID: appID, TaskID: taskID}, make(map[string]bool, len(removed))
	for i := range removed {
		if id := removed[i].CloudID; !seen[id] {
			seen[id] = true
			claim.Records = append(claim.Records, removed[i])
		}
	}
	_, err := e.Claim(ctx, claim)
	return err
}
