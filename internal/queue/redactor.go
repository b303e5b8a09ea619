package queue

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

// Finisher finishes cloudIDs outside of an attempt. Their task is not in the hands of a worker.
type Finisher interface {
	// FinishOverdue finishes the cloudIDs of a task that are past their lifetime, and returns
	// what it leaves open.
	FinishOverdue(ctx context.Context, taskID string, p tasks.ResolvePayload) (Open, error)
	// CountUnreadable counts the cloudIDs of a task that no worker can read as failed.
	CountUnreadable(ctx context.Context, taskID string) error
}

// Open describes the cloudIDs of a task that have no final status.
type Open struct {
	CloudIDs int
	Next     time.Time // when the next of them may be finished; zero if there are none
}

// Redactor handles tasks that asynq does not give to a worker:
//
//   - It redacts archived tasks. asynq retains them for 90 days with their payload, unsealed.
//     Only their error is still needed. Open cloudIDs get their final status first. While the
//     lifetime of an open cloudID runs, the task stays as it is, so that an operator can run it
//     again.
//   - It runs an archived task again if asynq archived it because of the options of an external
//     producer (adopt.go).
//   - It runs tasks that wait in a group (adopt.go).
//   - It removes the cloudIDs of erased users from requeued tasks (deferred.go).
//
// Every worker process runs one. A Redactor skips a task that another one has handled.
type Redactor struct {
	rdb      redis.UniversalClient
	queues   []string
	finisher Finisher
	log      *slog.Logger

	archives map[string]*archive // by queue; used by Pass only

	mu       sync.Mutex
	deferred map[taskRef]deferredRedaction // guarded by mu
	late     map[lateTask]bool             // guarded by mu; see adopt.go
}

// NewRedactor returns a redactor of the queues with cloudid:resolve tasks. It does nothing
// before Run.
func NewRedactor(rdb redis.UniversalClient, finisher Finisher, log *slog.Logger) *Redactor {
	r := &Redactor{
		rdb: rdb, queues: WithCloudIDs(), finisher: finisher, log: log,
		archives: make(map[string]*archive),
		deferred: make(map[taskRef]deferredRedaction), late: make(map[lateTask]bool),
	}
	for _, queue := range r.queues {
		r.archives[queue] = newArchive(rdb, queue)
	}
	return r
}

// Run makes a pass every second, until ctx ends.
func (r *Redactor) Run(ctx context.Context) {
	tick := time.NewTicker(redactEvery)
	defer tick.Stop()
	for {
		r.Pass(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Pass handles everything that has come up since the last pass. It logs errors. It must not be
// called concurrently with itself or with Run.
func (r *Redactor) Pass(ctx context.Context) {
	logFailed := func(what, queue string, err error) {
		if err != nil && !errors.Is(err, context.Canceled) {
			r.log.Error(what, "queue", queue, "error", err)
		}
	}
	logFailed("cannot remove erased users from tasks", "", r.redactDeferred(ctx))
	for _, queue := range r.queues {
		logFailed("cannot run tasks that wait in a group", queue, r.runGrouped(ctx, queue))
		logFailed("cannot take over tasks past their deadline", queue, r.adoptLate(ctx, queue))
		logFailed("cannot redact archived tasks", queue, r.redactArchived(ctx, queue))
	}
}

// redactArchived handles the archived tasks of a queue: those that were archived since the last
// pass, and those that are due for another check. The first pass handles all of them.
func (r *Redactor) redactArchived(ctx context.Context, queue string) error {
	a := r.archives[queue]
	if err := a.scan(ctx, time.Now()); err != nil {
		return err
	}
	due := a.due(time.Now())
	for len(due) > 0 {
		page := due[:min(len(due), taskPage)]
		due = due[len(page):]
		found, err := readTasks(ctx, r.rdb, queue, page)
		if err != nil {
			return err
		}
		for i := range found {
			next, err := r.checkArchived(ctx, &found[i], a.archivedAt(found[i].id))
			if err != nil {
				return err
			}
			a.reschedule(found[i].id, next)
		}
	}
	return nil
}

// checkArchived handles one archived task. It returns the time of the next check. Zero means
// never.
func (r *Redactor) checkArchived(
	ctx context.Context, t *task, archivedAt int64,
) (next time.Time, err error) {
	m, ok := parseMessage(t.message)
	if t.state != stateArchived || !ok || m.kind != tasks.TypeResolve || isRedacted(m.payload) {
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
		if err := r.finisher.CountUnreadable(ctx, t.id); err != nil {
			return time.Time{}, fmt.Errorf("counting a lost task: %w", err)
		}
		return r.redactNow(ctx, t)
	}
	open, err := r.finisher.FinishOverdue(ctx, t.id, p)
	switch {
	case err != nil:
		return time.Time{}, fmt.Errorf("finishing the open cloudIDs of an archived task: %w", err)
	case open.CloudIDs == 0:
		return r.redactNow(ctx, t)
	case m.mayGiveUp() && m.lastFailed == uint64(archivedAt): //nolint:gosec // seconds of now
		// asynq archived the task: it sets both times at once (asynq v0.26.0 rdb.go:885-920).
		// If an operator archives a task, only the time of archiving is set.
		return time.Time{}, r.adopt(ctx, t)
	default:
		return open.Next, nil
	}
}

// redactNow redacts the payload of a task. If the task has changed since it was read, redactNow
// returns the current time, for another check.
func (r *Redactor) redactNow(ctx context.Context, t *task) (next time.Time, err error) {
	redacted, ok := redact([]byte(t.message))
	if !ok {
		return time.Time{}, nil
	}
	done, err := t.rewrite(ctx, r.rdb, redacted)
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
