package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// writableFresh is how long an answer serves, however many ask.
	writableFresh = time.Second
	// writableTTL is how long a probe's key stays.
	writableTTL = time.Minute
)

// RefusedError says that a server is up and takes no writes.
type RefusedError struct {
	// Word is what its error begins with: OOM (full), READONLY (a replica), NOREPLICAS, MISCONF (it cannot save), BUSY,
	// NOAUTH and the like; for PostgreSQL it is read-only.
	Word string
}

// Error implements error.
func (e *RefusedError) Error() string { return "takes no writes (" + e.Word + ")" }

// Writable finds out whether Redis takes writes, by writing: a server that is full, read-only, without the replicas it
// wants or unable to save answers a PING as ever. It is safe for concurrent use.
type Writable struct {
	rdb  redis.Cmdable
	keys []string

	turn chan struct{} // held by the one who asks; guards what follows
	at   time.Time
	err  error
}

// NewWritable returns a Writable over rdb, which stays the caller's to close. In a cluster it probes the nodes of the
// slots that the names lead to.
func NewWritable(rdb redis.Cmdable, slots ...string) *Writable {
	w := &Writable{rdb: rdb, turn: make(chan struct{}, 1)}
	for _, slot := range slots {
		w.keys = append(w.keys, "cloudidq:writable:{"+slot+"}")
	}
	return w
}

// Ask returns nil if Redis has taken a write within the last second, a [*RefusedError] if it is up and has not, and
// another error if it does not answer. It writes at most once a second, a key for each slot, which lapse by themselves.
func (w *Writable) Ask(ctx context.Context) error {
	select {
	case w.turn <- struct{}{}:
		defer func() { <-w.turn }()
	case <-ctx.Done():
		return fmt.Errorf("writing to Redis: %w", ctx.Err())
	}
	if !w.at.IsZero() && time.Since(w.at) < writableFresh {
		return w.err
	}
	_, err := w.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, key := range w.keys {
			p.Set(ctx, key, 1, writableTTL)
		}
		return nil
	})
	if ctx.Err() != nil { // says nothing to the next one
		return fmt.Errorf("writing to Redis: %w", ctx.Err())
	}
	w.at, w.err = time.Now(), refusal(err)
	return w.err
}

// refusal makes of an answer of Redis what may be shown of it: its first word.
func refusal(err error) error {
	if err == nil {
		return nil
	}
	answer, answered := errors.AsType[redis.Error](err)
	if !answered {
		return fmt.Errorf("writing to Redis: %w", err)
	}
	word, _, _ := strings.Cut(answer.Error(), " ")
	return &RefusedError{Word: word}
}
