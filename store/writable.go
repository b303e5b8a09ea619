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
	// writableFresh is how long an answer is reused, however many callers there are.
	writableFresh = time.Second
	// writableTTL is the TTL of a probe's key.
	writableTTL = time.Minute
)

// RefusedError reports that a server is up but accepts no writes.
type RefusedError struct {
	// Word is the first word of the server's error: OOM (full), READONLY (a replica),
	// NOREPLICAS, MISCONF (it cannot save), BUSY, NOAUTH and the like. For PostgreSQL it is
	// read-only.
	Word string
}

// Error implements error.
func (e *RefusedError) Error() string { return "takes no writes (" + e.Word + ")" }

// Writable finds out whether Redis accepts writes, by writing. A PING is not enough: a server
// answers it even if it is full, read-only, without the replicas that it requires, or unable to
// save. Writable is safe for concurrent use.
type Writable struct {
	rdb  redis.Cmdable
	keys []string

	turn chan struct{} // held by the caller that probes; guards at and err
	at   time.Time
	err  error
}

// NewWritable returns a Writable over rdb. The caller owns rdb and closes it. In a cluster,
// Writable probes the nodes of the slots that the names in slots map to.
func NewWritable(rdb redis.Cmdable, slots ...string) *Writable {
	w := &Writable{rdb: rdb, turn: make(chan struct{}, 1)}
	for _, slot := range slots {
		w.keys = append(w.keys, "cloudidq:writable:{"+slot+"}")
	}
	return w
}

// Check returns nil if Redis has accepted a write within the last second, a [*RefusedError] if
// Redis is up but refused the write, and another error if Redis does not answer. It writes at
// most once a second, one key per slot. The keys expire by themselves.
func (w *Writable) Check(ctx context.Context) error {
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
	if ctx.Err() != nil { // this caller's deadline says nothing about Redis
		return fmt.Errorf("writing to Redis: %w", ctx.Err())
	}
	w.at, w.err = time.Now(), refusal(err)
	return w.err
}

// refusal converts the result of a write. Of an answer from Redis it keeps only the first word,
// which is safe to show.
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
