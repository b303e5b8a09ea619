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
	// redactAgain is how far back a look begins before the end of the last one: asynq's clock has whole seconds, and
	// those of two machines differ.
	redactAgain = time.Minute
)

// redactor takes cloudIDs and openids out of archived tasks. asynq keeps those for 90 days with their payload, unsealed, but
// they are there for their error only: their cloudIDs have ended. It also takes those of erased persons out of tasks that
// come back (leftover.go).
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
