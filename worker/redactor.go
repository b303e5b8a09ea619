package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"cloudidq/tasks"
)

const (
	redactEvery = time.Second
	// redactAgain is how far back a look begins before the end of the last one: asynq's clock has whole seconds, and
	// those of two machines differ.
	redactAgain = time.Minute
)

// redactor takes cloudIDs and openids out of archived tasks, and those of erased persons out of tasks that come back. asynq
// keeps the archived ones for 90 days with their payload, unsealed, but they are there for their error only: their cloudIDs
// have ended.
//
// Every worker process runs one; what another has redacted is left alone.
type redactor struct {
	rdb    redis.UniversalClient
	queues []string
	log    *slog.Logger

	seen map[string]int64 // by queue: Unix seconds of the last archived task

	mu   sync.Mutex
	left map[leftover]leaving // guarded by mu
}

// leftover is a task that goes back to its queue with cloudIDs of persons who were erased while it was in hand.
type leftover struct{ queue, taskID string }

type leaving struct {
	cloudIDs map[string]bool
	until    time.Time
}

// leftFor is how long it is waited for that a task is back in its queue: far longer than that takes.
const leftFor = time.Minute

// takeOut takes cloudIDs out of a task once it is back in its queue: asynq writes the payload there that it has fetched.
func (r *redactor) takeOut(queue, taskID string, cloudIDs map[string]bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.left == nil {
		r.left = make(map[leftover]leaving)
	}
	r.left[leftover{queue, taskID}] = leaving{cloudIDs, time.Now().Add(leftFor)}
}

// takeOutAll does so for the tasks that are back. One that has come into a worker's hands again is told of again.
func (r *redactor) takeOutAll(ctx context.Context) error {
	r.mu.Lock()
	left := maps.Clone(r.left)
	r.mu.Unlock()
	for of, is := range left {
		done, err := r.takeOutOf(ctx, of, is.cloudIDs)
		if err != nil {
			return err
		}
		if done || time.Now().After(is.until) {
			r.mu.Lock()
			delete(r.left, of)
			r.mu.Unlock()
		}
	}
	return nil
}

func (r *redactor) takeOutOf(ctx context.Context, of leftover, cloudIDs map[string]bool) (done bool, err error) {
	found, err := readTasks(ctx, r.rdb, of.queue, []string{of.taskID})
	if err != nil {
		return false, err
	}
	task := &found[0]
	if task.state == stateActive {
		return false, nil
	}
	message, ok := withPayload([]byte(task.message), func(payload []byte) ([]byte, bool) {
		p, err := tasks.ParseResolve(payload)
		if err != nil || len(p.TakeOut(func(it tasks.Item) bool { return cloudIDs[it.CloudID] })) == 0 {
			return nil, false
		}
		text, err := json.Marshal(p)
		return text, err == nil
	})
	if !ok {
		return true, nil
	}
	return task.rewrite(ctx, r.rdb, message)
}

// run redacts until ctx ends.
func (r *redactor) run(ctx context.Context) {
	tick := time.NewTicker(redactEvery)
	defer tick.Stop()
	for {
		if err := r.takeOutAll(ctx); err != nil && !errors.Is(err, context.Canceled) {
			r.log.Error("cannot take erased persons out of tasks", "error", err)
		}
		for _, queue := range r.queues {
			if err := r.redactQueue(ctx, queue); err != nil && !errors.Is(err, context.Canceled) {
				r.log.Error("cannot redact archived tasks", "queue", queue, "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// redactQueue goes through the tasks that have been archived since the last time, or all of them at first.
func (r *redactor) redactQueue(ctx context.Context, queue string) error {
	from := max(0, r.seen[queue]-int64(redactAgain.Seconds()))
	for at := int64(0); ; at += queuedPage {
		archived, err := r.rdb.ZRangeArgsWithScores(ctx, redis.ZRangeArgs{
			Key: "asynq:{" + queue + "}:archived", ByScore: true, Start: from, Stop: "+inf", Offset: at, Count: queuedPage,
		}).Result()
		if err != nil {
			return fmt.Errorf("listing archived tasks: %w", err)
		}
		if err := r.redactAll(ctx, queue, archived); err != nil {
			return err
		}
		if len(archived) > 0 {
			r.seen[queue] = int64(archived[len(archived)-1].Score)
		}
		if len(archived) < queuedPage {
			return nil
		}
	}
}

func (r *redactor) redactAll(ctx context.Context, queue string, archived []redis.Z) error {
	ids := make([]string, len(archived))
	for i := range archived {
		ids[i] = fmt.Sprint(archived[i].Member)
	}
	found, err := readTasks(ctx, r.rdb, queue, ids)
	if err != nil {
		return err
	}
	for i := range found {
		redacted, ok := redact([]byte(found[i].message))
		if !ok || found[i].state != stateArchived {
			continue
		}
		if _, err := found[i].rewrite(ctx, r.rdb, redacted); err != nil {
			return err
		}
	}
	return nil
}

// redact returns the message of a cloudid:resolve task with its payload redacted, and false for any other message and for
// one that is redacted already.
func redact(message []byte) ([]byte, bool) { return withPayload(message, redactPayload) }

const redactedMark = `{"v":0,"redacted":true`

// redactPayload leaves app and number of cloudIDs. Run again, the task is refused for its version. What cannot be read
// may hold ids as well.
func redactPayload(payload []byte) ([]byte, bool) {
	if strings.HasPrefix(string(payload), redactedMark) {
		return nil, false
	}
	text := redactedMark
	if p, err := tasks.ParseResolve(payload); err == nil {
		appID, _ := json.Marshal(p.AppID) // a string
		text += `,"appid":` + string(appID) + `,"items":` + strconv.Itoa(len(p.Items))
	}
	return []byte(text + "}"), true
}
