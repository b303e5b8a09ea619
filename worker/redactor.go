package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"cloudidq/tasks"
)

const (
	redactEvery = time.Second
	// newerFor is how long an archived task of a newer payload version is left for a newer worker.
	newerFor = time.Hour
)

// redactor handles tasks that asynq does not give to a worker:
//
//   - It redacts archived tasks. asynq retains them for 90 days with their payload, unsealed.
//     Only their error is still needed. Open cloudIDs get their final status first. While the
//     lifetime of an open cloudID runs, the task stays as it is, so that an operator can run it
//     again.
//   - It runs an archived task again if asynq archived it because of the options of an external
//     producer (adopt.go).
//   - It runs tasks that wait in a group (adopt.go).
//   - It removes the cloudIDs of erased users from requeued tasks (leftover.go).
//
// Every worker process runs a redactor. It skips a task that another one has handled.
type redactor struct {
	rdb    redis.UniversalClient
	queues []string
	log    *slog.Logger
	ends   *resolver

	archives map[string]*archive // by queue; used by run's goroutine only

	mu   sync.Mutex
	left map[leftover]leaving // guarded by mu
	late map[lateTask]bool    // guarded by mu; see adopt.go
}

// newRedactor returns a redactor of the queues with cloudid:resolve tasks. The caller sets its
// ends.
func newRedactor(rdb redis.UniversalClient, log *slog.Logger) *redactor {
	r := &redactor{
		rdb: rdb, queues: resolveQueues[:], log: log,
		archives: make(map[string]*archive), left: make(map[leftover]leaving), late: make(map[lateTask]bool),
	}
	for _, queue := range r.queues {
		r.archives[queue] = newArchive(rdb, queue)
	}
	return r
}

// run redacts until ctx ends.
func (r *redactor) run(ctx context.Context) {
	tick := time.NewTicker(redactEvery)
	defer tick.Stop()
	for {
		r.pass(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// pass handles everything that has come up since the last pass. It logs errors.
func (r *redactor) pass(ctx context.Context) {
	tell := func(what, queue string, err error) {
		if err != nil && !errors.Is(err, context.Canceled) {
			r.log.Error(what, "queue", queue, "error", err)
		}
	}
	tell("cannot take erased persons out of tasks", "", r.takeOutAll(ctx))
	for _, queue := range r.queues {
		tell("cannot run tasks that wait in a group", queue, r.runGrouped(ctx, queue))
		tell("cannot take over tasks past their deadline", queue, r.adoptLate(ctx, queue))
		tell("cannot redact archived tasks", queue, r.redactQueue(ctx, queue))
	}
}

// redactQueue handles the archived tasks of a queue: those that were archived since the last
// pass, and those that are due for another check. The first pass handles all of them.
func (r *redactor) redactQueue(ctx context.Context, queue string) error {
	a := r.archives[queue]
	if err := a.look(ctx, time.Now()); err != nil {
		return err
	}
	due := a.due(time.Now())
	for len(due) > 0 {
		page := due[:min(len(due), queuedPage)]
		due = due[len(page):]
		found, err := readTasks(ctx, r.rdb, queue, page)
		if err != nil {
			return err
		}
		for i := range found {
			again, err := r.redactTask(ctx, &found[i], a.archivedAt(found[i].id))
			if err != nil {
				return err
			}
			a.settle(found[i].id, again)
		}
	}
	return nil
}

// redactTask handles one archived task. It returns the time of the next check. Zero means never.
func (r *redactor) redactTask(ctx context.Context, task *queuedTask, archivedAt int64) (again time.Time, err error) {
	m, ok := parseMessage(task.message)
	if task.state != stateArchived || !ok || m.kind != tasks.TypeResolve || isRedacted(m.payload) {
		return time.Time{}, nil
	}
	p, err := tasks.ParseResolve(m.payload)
	// A newer worker may still read the task.
	if errors.Is(err, tasks.ErrNewer) {
		if until := time.Unix(archivedAt, 0).Add(newerFor); time.Now().Before(until) {
			return until, nil
		}
	}
	// No worker can read the task. A backfill has to count its cloudIDs.
	if err != nil {
		if err := r.ends.bulk.lost(ctx, task.id); err != nil {
			return time.Time{}, fmt.Errorf("counting a lost task: %w", err)
		}
		return r.redactNow(ctx, task)
	}
	open, err := r.ends.endOutlivedOf(ctx, task.id, p)
	switch {
	case err != nil:
		return time.Time{}, fmt.Errorf("ending what an archived task leaves open: %w", err)
	case open.n == 0:
		return r.redactNow(ctx, task)
	case m.mayGiveUp() && m.lastFailed == uint64(archivedAt): //nolint:gosec // seconds of now
		// asynq archived the task: it sets both times at once (asynq v0.26.0 rdb.go:885-920).
		// If an operator archives a task, only the time of archiving is set.
		return time.Time{}, r.adopt(ctx, task)
	default:
		return open.again, nil
	}
}

// redactNow redacts the payload of a task. If the task has changed since it was read, redactNow
// returns the current time, for another check.
func (r *redactor) redactNow(ctx context.Context, task *queuedTask) (again time.Time, err error) {
	redacted, ok := redact([]byte(task.message))
	if !ok {
		return time.Time{}, nil
	}
	done, err := task.rewrite(ctx, r.rdb, redacted)
	if err != nil || done {
		return time.Time{}, err
	}
	return time.Now(), nil
}

// redact returns the message of a cloudid:resolve task with a redacted payload. It reports
// false for any other message, and for a message that is redacted already.
func redact(message []byte) ([]byte, bool) { return withPayload(message, redactPayload) }

// redactedMark is the start of every redacted payload. No worker reads version 0.
const redactedMark = `{"v":0,"redacted":true`

func isRedacted(payload []byte) bool { return strings.HasPrefix(string(payload), redactedMark) }

// redactPayload returns a payload that retains only the appid and the number of cloudIDs. If
// somebody runs the task again, workers refuse its version. An unreadable payload may hold ids
// too, so it loses everything. redactPayload reports false for a payload that is redacted already.
func redactPayload(payload []byte) ([]byte, bool) {
	if isRedacted(payload) {
		return nil, false
	}
	text := redactedMark
	if p, err := tasks.ParseResolve(payload); err == nil {
		appID, _ := json.Marshal(p.AppID) // a string
		text += `,"appid":` + string(appID) + `,"items":` + strconv.Itoa(len(p.Items))
	}
	return []byte(text + "}"), true
}
