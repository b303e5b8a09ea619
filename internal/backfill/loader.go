// Package backfill brings files of cloudIDs into the queue, each line once whatever breaks on the way, and brings their
// results back in the order of the lines. The command line and the HTTP API use it alike.
//
// A file comes in by windows of some thousand lines. A window is begun in the store, then its tasks are written, then it
// is committed (store/backfills.go). A crash between two of these steps leaves a window that is begun; whoever goes on
// reads the file from its start, sees by running digests that the lines are those of then, and repeats that window under
// the same task ids.
//
// The package holds a window in memory and nothing that grows with the file.
package backfill

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"

	"cloudidq/internal/lines"
	"cloudidq/store"
	"cloudidq/tasks"
)

// producer is the part of [tasks.Client] that a Loader uses.
type producer interface {
	WriteChunk(ctx context.Context, chunk tasks.Chunk) error
	Now(ctx context.Context) (time.Time, error)
}

// pressure says whether more may come in now.
type pressure interface {
	// Room returns nil if more of an app's lines may come in, [ErrFull] or [ErrPaused].
	Room(ctx context.Context, appID string) error
}

// Loader brings lines into backfills. It is safe for concurrent use, for different backfills.
type Loader struct {
	Store    *store.Backfills
	Producer producer
	Pressure pressure

	windowMax int // lines; 0 = windowLines
}

// Source brings lines, as [lines.Reader] does.
type Source interface {
	Read(into []lines.Line) (int, error)
}

// Options are what a call of Load tells while it runs, all of it from one goroutine, and how long it waits. The zero
// value tells nothing and waits for ever.
type Options struct {
	// Progress is told how far the backfill is each time that lines have come in.
	Progress func(store.Backfill)
	// Reject is told of each line that was not accepted, once that is certain.
	Reject func(store.Reject)
	// Full is called when Load begins to wait, with the reason: [ErrFull] or [ErrPaused].
	Full func(why error)
	// AtEnd is asked when the input has ended, before the backfill is complete; its error leaves it open.
	AtEnd func() error
	// Unblock makes a Read that waits return, since Load is about to; Load then waits for that. nil = Load does not wait
	// for it, and the goroutine that reads ends with the read.
	Unblock func()
	// MaxFull bounds the wait for room; 0 = it has no bound.
	MaxFull time.Duration
}

// InputError says that the input has broken off: what came before is in, and the backfill stays open.
type InputError struct {
	Lines int // that are in
	Err   error
}

// Error implements error.
func (e *InputError) Error() string {
	return fmt.Sprintf("the input has broken off, %d lines are in: %v", e.Lines, e.Err)
}

// Unwrap returns the input's error.
func (e *InputError) Unwrap() error { return e.Err }

// ChangedError says that lines are not those which were read before. Nothing was enqueued since.
type ChangedError struct {
	From, To int // the lines among which the first such is; To is 0 if the input ends before From
}

// Error implements error.
func (e *ChangedError) Error() string {
	if e.To == 0 {
		return fmt.Sprintf("the input has changed: line %d, which was read before, is not there any more", e.From)
	}
	return fmt.Sprintf("the input has changed: among lines %d to %d is one that is not what was read before", e.From, e.To)
}

// ErrFull says that the queue was full for as long as Load was to wait.
var ErrFull = errors.New("the queue is full")

// ErrPaused says that the app was paused for as long as Load was to wait. What is in the queue then only comes back again
// and again, and a paused app could fill it.
var ErrPaused = errors.New("the app is paused")

const (
	batchLines = 512 // that are read at once
	// linger is how long a line waits for others of its window, if the input is slower than that.
	linger = 100 * time.Millisecond
	// lastFlush bounds what a load does when it is to stop.
	lastFlush = 5 * time.Second
)

// Load reads the source to its end, brings its lines into the backfill, and completes it. Lines that are in already are
// skipped, as long as they are the same. It returns the backfill as it is then, also beside an error.
//
// When ctx ends, or the source breaks off, what was read is brought in before Load returns, unless the queue is full, the app
// is paused, or Redis does not answer, and the backfill stays open: the same call on the same source goes on. The error is ctx's, an [*InputError],
// a [*ChangedError], a [*lines.HeaderError], [ErrFull], [ErrPaused], one of the store's ErrBackfill…, or says that Redis does not answer.
func (l *Loader) Load(ctx context.Context, loading store.Loading, source Source, options Options) (store.Backfill, error) {
	in := startReading(source)
	defer in.stop(options.Unblock)
	r := &run{
		Loader: l, options: options, at: loading, in: in, digest: sha256.New(), checks: checks{store: l.Store, id: loading.Backfill.ID},
	}
	err := r.all(ctx)
	return r.at.Backfill, err
}

// run is one call of Load.
type run struct {
	*Loader
	options Options
	at      store.Loading
	in      *reading

	digest hash.Hash // of the lines that were read
	read   int       // how many those are
	checks checks
	lines  []lines.Line // the window: those that are not in yet
}

func (r *run) all(ctx context.Context) error {
	flush := time.NewTimer(linger)
	defer flush.Stop()
	for {
		select {
		case batch := <-r.in.batches:
			if len(r.lines) == 0 {
				flush.Reset(linger)
			}
			if err := r.take(ctx, batch.lines); err != nil {
				return err
			}
			r.in.release(batch)
			if batch.err != nil {
				return r.end(ctx, batch.err)
			}
		case <-flush.C:
			if err := r.flush(ctx); err != nil {
				return err
			}
		case <-ctx.Done():
			return errors.Join(ctx.Err(), r.flushLast(ctx))
		}
	}
}

// take adds lines to the window, and writes it when it is full.
func (r *run) take(ctx context.Context, batch []lines.Line) error {
	for i := range batch {
		line := &batch[i]
		r.read = line.Number
		_, _ = io.WriteString(r.digest, line.Text)
		_, _ = io.WriteString(r.digest, "\n") // no line holds one
		if line.Number <= r.at.Backfill.Lines {
			if err := r.checks.check(ctx, line.Number, r.sum); err != nil {
				return err
			}
			continue
		}
		if r.at.Backfill.State == store.BackfillComplete {
			return fmt.Errorf("%w with %d lines, and the input has more", store.ErrBackfillComplete, r.at.Backfill.Lines)
		}
		r.lines = append(r.lines, *line)
		if r.full() {
			if err := r.flush(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// sum is the digest of all lines that were read.
func (r *run) sum() string { return hex.EncodeToString(r.digest.Sum(nil)[:16]) }

// full reports whether the window is to be written. One that was begun before is repeated as it was.
func (r *run) full() bool {
	if begun := r.at.Begun; begun != nil {
		return r.read == begun.To
	}
	return len(r.lines) == cmp.Or(r.windowMax, windowLines)
}

// end deals with what is there instead of a line.
func (r *run) end(ctx context.Context, err error) error {
	if !errors.Is(err, io.EOF) {
		var header *lines.HeaderError
		if errors.As(err, &header) {
			return err
		}
		return r.brokenOff(ctx, err)
	}
	if was := max(r.at.Backfill.Lines, r.begunTo()); r.read < was {
		return &ChangedError{From: r.read + 1}
	}
	if err := r.flush(ctx); err != nil {
		return err
	}
	if r.options.AtEnd != nil {
		if err := r.options.AtEnd(); err != nil {
			return &InputError{r.at.Backfill.Lines, err}
		}
	}
	return r.persist(ctx, func(ctx context.Context) error { return r.Store.Complete(ctx, &r.at) })
}

func (r *run) begunTo() int {
	if r.at.Begun == nil {
		return 0
	}
	return r.at.Begun.To
}

// brokenOff brings in what was read, and says that there was more.
func (r *run) brokenOff(ctx context.Context, err error) error {
	if flushed := r.flushLast(ctx); flushed != nil {
		return flushed
	}
	return &InputError{r.at.Backfill.Lines, err}
}

// flush writes the window once there is room, if there is anything in it. A window that was begun before is not written in
// part.
func (r *run) flush(ctx context.Context) error {
	if len(r.lines) == 0 || r.read < r.begunTo() {
		return nil
	}
	if err := r.room(ctx); err != nil {
		return err
	}
	return r.write(ctx)
}

// flushLast is flush for a load that stops: it waits neither for room nor long for Redis, and it matters no more whether
// ctx has ended.
func (r *run) flushLast(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastFlush)
	defer cancel()
	if len(r.lines) == 0 || r.read < r.begunTo() || r.Pressure.Room(ctx, r.at.Backfill.AppID) != nil {
		return nil
	}
	return r.write(ctx)
}
