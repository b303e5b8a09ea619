package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"google.golang.org/protobuf/encoding/protowire"

	"cloudidq/tasks"
)

const (
	redactEvery = time.Second
	redactPage  = 200
	// redactAgain is how far back a look begins before the end of the last one: asynq's clock has whole seconds, and
	// those of two machines differ.
	redactAgain = time.Minute
)

// redactScript writes the message of an archived task if it is what has been read.
var redactScript = redis.NewScript(`
if redis.call("HGET", KEYS[1], "state") ~= "archived" or redis.call("HGET", KEYS[1], "msg") ~= ARGV[1] then
	return 0
end
redis.call("HSET", KEYS[1], "msg", ARGV[2])
return 1`)

// redactor takes cloudIDs and openids out of archived tasks. asynq keeps those for 90 days with their payload, unsealed,
// but they are there for their error only: their cloudIDs have ended.
//
// It reaches into asynq's own keys, which asynq offers no other way for: task key and message are those of v0.26.0
// (internal/base/base.go:106-232, internal/proto/asynq.proto), and a test holds it against the version in go.mod. Every
// worker process runs one; what another has redacted is left alone.
type redactor struct {
	rdb    redis.UniversalClient
	queues []string
	log    *slog.Logger

	seen map[string]int64 // by queue: Unix seconds of the last archived task
}

// run redacts until ctx ends.
func (r *redactor) run(ctx context.Context) {
	tick := time.NewTicker(redactEvery)
	defer tick.Stop()
	for {
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
	for at := int64(0); ; at += redactPage {
		archived, err := r.rdb.ZRangeArgsWithScores(ctx, redis.ZRangeArgs{
			Key: "asynq:{" + queue + "}:archived", ByScore: true, Start: from, Stop: "+inf", Offset: at, Count: redactPage,
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
		if len(archived) < redactPage {
			return nil
		}
	}
}

func (r *redactor) redactAll(ctx context.Context, queue string, archived []redis.Z) error {
	if len(archived) == 0 {
		return nil
	}
	key := func(i int) string { return "asynq:{" + queue + "}:t:" + fmt.Sprint(archived[i].Member) }
	messages := make([]*redis.StringCmd, len(archived))
	_, err := r.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i := range archived {
			messages[i] = p.HGet(ctx, key(i), "msg")
		}
		return nil
	})
	if err != nil && !errors.Is(err, redis.Nil) {
		return fmt.Errorf("reading archived tasks: %w", err)
	}
	for i, message := range messages {
		redacted, ok := redact([]byte(message.Val()))
		if !ok {
			continue
		}
		if err := redactScript.Run(ctx, r.rdb, []string{key(i)}, message.Val(), redacted).Err(); err != nil {
			return fmt.Errorf("redacting an archived task: %w", err)
		}
	}
	return nil
}

// Fields of asynq's TaskMessage.
const (
	fieldType    protowire.Number = 1
	fieldPayload protowire.Number = 2
)

// redact returns the message of a cloudid:resolve task with its payload redacted, and false for any other message and for
// one that is redacted already.
func redact(message []byte) ([]byte, bool) {
	out := make([]byte, 0, len(message))
	kind, done := "", false
	for rest := message; len(rest) > 0; {
		number, wire, n := protowire.ConsumeTag(rest)
		if n < 0 {
			return nil, false
		}
		size := protowire.ConsumeFieldValue(number, wire, rest[n:])
		if size < 0 {
			return nil, false
		}
		field, value := rest[:n+size], rest[n:n+size]
		rest = rest[n+size:]
		switch number {
		case fieldType:
			text, _ := protowire.ConsumeBytes(value)
			kind = string(text)
		case fieldPayload:
			payload, _ := protowire.ConsumeBytes(value)
			short, ok := redactPayload(payload)
			if !ok {
				return nil, false
			}
			field, done = protowire.AppendBytes(protowire.AppendTag(nil, fieldPayload, protowire.BytesType), short), true
		}
		out = append(out, field...)
	}
	return out, done && kind == tasks.TypeResolve
}

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
