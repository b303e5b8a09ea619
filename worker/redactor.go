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
	// newerFor is how long an archived task of a newer version is left to a newer worker.
	newerFor = time.Hour
)

// redactor looks after tasks that lie where no worker is given them. Archived ones: their cloudIDs and openids are taken
// out, since asynq keeps those for 90 days with their payload, unsealed, and they are there for their error only. What is
// open of one gets its end first: while it lives the task stays as it is, so that an operator can run it again, and one
// that asynq has given up by options of a foreign producer is run again (adopt.go). Grouped ones are run (adopt.go), and
// those that come back with cloudIDs of erased persons lose these (leftover.go).
//
// Every worker process runs one; what another has done is left alone.
type redactor struct {
	rdb    redis.UniversalClient
	queues []string
	log    *slog.Logger
	ends   *resolver

	archives map[string]*archive // by queue; of run's goroutine alone

	mu   sync.Mutex
	left map[leftover]leaving // guarded by mu
	late map[lateTask]bool    // guarded by mu; see adopt.go
}

// newRedactor returns a redactor of the queues with cloudid:resolve tasks. Its ends are still to be set.
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

// pass does what has come since the last one.
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

// redactQueue goes through the tasks that have been archived since the last time, or all of them at first, and through
// those whose time has come.
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

// redactTask does what is to be done about one archived task, and returns when it is to be looked at again; zero = never.
func (r *redactor) redactTask(ctx context.Context, task *queuedTask, archivedAt int64) (again time.Time, err error) {
	m, ok := parseMessage(task.message)
	if task.state != stateArchived || !ok || m.kind != tasks.TypeResolve || isRedacted(m.payload) {
		return time.Time{}, nil
	}
	p, err := tasks.ParseResolve(m.payload)
	if errors.Is(err, tasks.ErrNewer) {
		if until := time.Unix(archivedAt, 0).Add(newerFor); time.Now().Before(until) {
			return until, nil
		}
	}
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
		// By asynq, which sets both at once (asynq v0.26.0 rdb.go:885-920); an operator who archives sets the one.
		return time.Time{}, r.adopt(ctx, task)
	default:
		return open.again, nil
	}
}

// redactNow writes a task without what is in its payload. One that has changed meanwhile is looked at again.
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

// redact returns the message of a cloudid:resolve task with its payload redacted, and false for any other message and for
// one that is redacted already.
func redact(message []byte) ([]byte, bool) { return withPayload(message, redactPayload) }

const redactedMark = `{"v":0,"redacted":true`

func isRedacted(payload []byte) bool { return strings.HasPrefix(string(payload), redactedMark) }

// redactPayload leaves app and number of cloudIDs. Run again, the task is refused for its version. What cannot be read
// may hold ids as well.
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
