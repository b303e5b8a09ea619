// Package backfill loads files of cloudIDs into the queue, and returns their results in the
// order of the lines. It enqueues each valid line exactly once, even after crashes. The command
// line and the HTTP API both use it.
//
// A load processes a file in windows of a few thousand lines. For each window, it takes three
// steps: it begins the window in the store, writes the tasks, and commits the window
// (store.go). A crash between two steps leaves a begun window. The next load reads
// the file from its start, and compares running digests to check that the lines are the same.
// Then it repeats the begun window under the same task ids.
//
// The memory use does not depend on the size of the file. The package holds one window, and
// reads ahead up to another one.
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
	"cloudidq/tasks"
)

// producer is the part of [tasks.Client] that a Loader uses.
type producer interface {
	WriteChunk(ctx context.Context, chunk tasks.Chunk) error
	Now(ctx context.Context) (time.Time, error)
}

// pressure limits how much a load enqueues.
type pressure interface {
	// Room returns nil if more lines of the app may be enqueued. Otherwise it returns
	// [ErrFull] or [ErrPaused].
	Room(ctx context.Context, appID string) error
}

// Loader loads lines into backfills. It is safe for concurrent use for different backfills.
type Loader struct {
	Store    *Store
	Producer producer
	Pressure pressure

	windowMax int // lines in a window; 0 = windowLines
}

// Source returns lines, as [lines.Reader] does.
type Source interface {
	Read(into []lines.Line) (int, error)
}

// Options are the callbacks and limits of a call of Load. Load calls all callbacks from one
// goroutine. The zero value has no callbacks and no time limit.
type Options struct {
	// Progress is called with the current backfill after each committed window.
	Progress func(Backfill)
	// Reject is called for each rejected line, after its window was committed.
	Reject func(Reject)
	// Full is called when Load begins to wait for room, with the reason: [ErrFull] or [ErrPaused].
	Full func(why error)
	// AtEnd is called at the end of the input, before the backfill is completed. If it returns
	// an error, the backfill stays open, and Load returns an [*InputError].
	AtEnd func() error
	// Unblock must make a blocked Read of the source return. Load calls it before Load returns,
	// and then waits for the reading goroutine. If Unblock is nil, Load does not wait, and that
	// goroutine ends when its current Read returns.
	Unblock func()
	// MaxFull bounds each wait for room; 0 = no bound.
	MaxFull time.Duration
}

// InputError reports that the input has failed. The lines before the failure are loaded, and
// the backfill stays open.
type InputError struct {
	Lines int // number of loaded lines
	Err   error
}

// Error implements error.
func (e *InputError) Error() string {
	return fmt.Sprintf("the input failed after %d loaded lines: %v", e.Lines, e.Err)
}

// Unwrap returns the input's error.
func (e *InputError) Unwrap() error { return e.Err }

// ChangedError reports that the input differs from the lines that an earlier load read. The
// load has enqueued nothing.
type ChangedError struct {
	From, To int // the first changed line is in this range; To is 0 if the input ends before From
}

// Error implements error.
func (e *ChangedError) Error() string {
	if e.To == 0 {
		return fmt.Sprintf("the input has changed: line %d, which an earlier load read, is missing",
			e.From)
	}
	return fmt.Sprintf(
		"the input has changed: at least one of lines %d to %d differs from the earlier load", e.From, e.To)
}

// ErrFull means that the queue is full. Load returns it after waiting for Options.MaxFull.
var ErrFull = errors.New("the queue is full")

// ErrPaused means that the app is paused. Load returns it after waiting for Options.MaxFull.
// Tasks of a paused app are only requeued, so the app could fill the queue.
var ErrPaused = errors.New("the app is paused")

const (
	batchLines = 512 // lines in one read
	// linger is how long a line waits for others to fill its window, if the input is slow.
	linger = 100 * time.Millisecond
	// lastFlush bounds the last write of a load that stops.
	lastFlush = 5 * time.Second
)

// Load reads the source to its end, loads its lines into the backfill, and completes the
// backfill. It checks the lines that are loaded already, and skips them. It returns the current
// backfill, also with an error.
//
// If ctx ends or the source fails, Load first loads the lines that it has read, unless the
// queue is full, the app is paused, or Redis does not answer. The backfill then stays open. To
// continue, call Load again with the same source from its start.
//
// The error is that of ctx, an [*InputError], a [*ChangedError], a [*lines.HeaderError],
// [ErrFull], [ErrPaused], [ErrNotFound], [ErrSuperseded], [ErrCanceled], [ErrComplete],
// [ErrDiffers], or an error of Redis.
func (l *Loader) Load(ctx context.Context, loading Loading, source Source, options Options) (Backfill, error) {
	reader := startReader(source)
	defer reader.stop(options.Unblock)
	s := &session{
		Loader: l, options: options, loading: loading, reader: reader, digest: sha256.New(),
		checks: checks{store: l.Store, id: loading.Backfill.ID},
	}
	err := s.loop(ctx)
	return s.loading.Backfill, err
}

// session is one call of Load.
type session struct {
	*Loader
	options Options
	loading Loading
	reader  *reader

	digest hash.Hash // of all lines that were read
	read   int       // number of lines that were read
	checks checks
	lines  []lines.Line // the current window: lines that are not loaded yet
}

// loop processes batches of lines until the input or ctx ends.
func (s *session) loop(ctx context.Context) error {
	flush := time.NewTimer(linger)
	defer flush.Stop()
	for {
		select {
		case batch := <-s.reader.batches:
			if len(s.lines) == 0 {
				flush.Reset(linger)
			}
			if err := s.addLines(ctx, batch.lines); err != nil {
				return err
			}
			s.reader.release(batch)
			if batch.err != nil {
				return s.finish(ctx, batch.err)
			}
		case <-flush.C:
			if err := s.flush(ctx); err != nil {
				return err
			}
		case <-ctx.Done():
			return errors.Join(ctx.Err(), s.flushLast(ctx))
		}
	}
}

// addLines adds lines to the window, and writes the window when it is full.
func (s *session) addLines(ctx context.Context, batch []lines.Line) error {
	for i := range batch {
		line := &batch[i]
		s.read = line.Number
		_, _ = io.WriteString(s.digest, line.Text)
		_, _ = io.WriteString(s.digest, "\n") // no line contains a newline
		// The line was loaded by an earlier call.
		if line.Number <= s.loading.Backfill.Lines {
			if err := s.checks.check(ctx, line.Number, s.digestSoFar); err != nil {
				return err
			}
			continue
		}
		if s.loading.Backfill.State == Complete {
			return fmt.Errorf("%w with %d lines, but the input has more", ErrComplete,
				s.loading.Backfill.Lines)
		}
		s.lines = append(s.lines, *line)
		if s.windowFull() {
			if err := s.flush(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// digestSoFar returns the digest of all lines that were read.
func (s *session) digestSoFar() string { return hex.EncodeToString(s.digest.Sum(nil)[:16]) }

// windowFull reports whether the window must be written now. A window that an earlier load began
// must end at the same line.
func (s *session) windowFull() bool {
	if begun := s.loading.Begun; begun != nil {
		return s.read == begun.To
	}
	return len(s.lines) == cmp.Or(s.windowMax, windowLines)
}

// finish handles the end of the input. err is io.EOF or the error of the source. At io.EOF, it
// writes the last window and completes the backfill.
func (s *session) finish(ctx context.Context, err error) error {
	if !errors.Is(err, io.EOF) {
		var header *lines.HeaderError
		if errors.As(err, &header) {
			return err
		}
		return s.inputFailed(ctx, err)
	}
	// An earlier load may have read more lines than the input has now.
	if known := max(s.loading.Backfill.Lines, s.begunTo()); s.read < known {
		return &ChangedError{From: s.read + 1}
	}
	if err := s.flush(ctx); err != nil {
		return err
	}
	if s.options.AtEnd != nil {
		if err := s.options.AtEnd(); err != nil {
			return &InputError{s.loading.Backfill.Lines, err}
		}
	}
	return s.withRetry(ctx, func(ctx context.Context) error { return s.Store.Complete(ctx, &s.loading) })
}

// begunTo returns the last line of the window that an earlier load began, or 0 if there is none.
func (s *session) begunTo() int {
	if s.loading.Begun == nil {
		return 0
	}
	return s.loading.Begun.To
}

// inputFailed loads the lines that were read, and returns an *InputError with err.
func (s *session) inputFailed(ctx context.Context, err error) error {
	if flushErr := s.flushLast(ctx); flushErr != nil {
		return flushErr
	}
	return &InputError{s.loading.Backfill.Lines, err}
}

// flush waits for room and writes the window, unless it is empty. A window that an earlier load
// began is written only when it is complete.
func (s *session) flush(ctx context.Context) error {
	if len(s.lines) == 0 || s.read < s.begunTo() {
		return nil
	}
	if err := s.waitForRoom(ctx); err != nil {
		return err
	}
	return s.writeWindow(ctx)
}

// flushLast is flush for a load that stops. It does not wait for room, waits for Redis at most
// lastFlush, and also works if ctx has ended.
func (s *session) flushLast(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastFlush)
	defer cancel()
	if len(s.lines) == 0 || s.read < s.begunTo() ||
		s.Pressure.Room(ctx, s.loading.Backfill.AppID) != nil {
		return nil
	}
	return s.writeWindow(ctx)
}
