package backfill

import (
	"context"
	"errors"

	"cloudidq/internal/lines"
)

// reader reads the source in a goroutine, ahead of the goroutine that writes.
type reader struct {
	batches chan batch
	free    chan []lines.Line // memory of batches, for reuse
	quit    chan struct{}     // closed when no more batches are needed
	done    chan struct{}     // closed when the goroutine has finished
}

// batch is a number of lines, and the error of the source after them.
type batch struct {
	lines []lines.Line
	err   error
}

// readAhead is how many batches are read ahead: one window.
const readAhead = windowLines / batchLines

// startReader starts the goroutine. The caller calls stop.
func startReader(source Source) *reader {
	in := &reader{
		batches: make(chan batch, readAhead), free: make(chan []lines.Line, readAhead+1),
		quit: make(chan struct{}), done: make(chan struct{}),
	}
	for range readAhead {
		in.free <- make([]lines.Line, batchLines)
	}
	go in.run(source)
	return in
}

func (in *reader) run(source Source) {
	defer close(in.done)
	for {
		var b batch
		select {
		case into := <-in.free:
			n, err := source.Read(into)
			b = batch{into[:n], err}
		case <-in.quit:
			return
		}
		select {
		case in.batches <- b:
		case <-in.quit:
			return
		}
		if b.err != nil {
			return
		}
	}
}

// release returns the memory of a batch for reuse.
func (in *reader) release(b batch) { in.free <- b.lines[:cap(b.lines)] }

// stop stops the goroutine. If unblock is not nil, stop calls it to interrupt a blocked Read, and
// waits for the goroutine.
func (in *reader) stop(unblock func()) {
	close(in.quit)
	if unblock == nil {
		return
	}
	unblock()
	<-in.done
}

// checks compares the input with the lines that are loaded already. The store has marks, which
// are digests at certain lines. checks reads marksAtOnce of them at a time.
type checks struct {
	store *Store
	id    string

	marks   []Mark // the next marks to compare
	next    int    // position of the first mark after those
	since   int    // the lines up to this one are unchanged
	allRead bool   // all marks have been read from the store
}

const marksAtOnce = 1000

// errNoMarks means that the marks do not cover all loaded lines. This happens only if Redis
// was modified externally.
var errNoMarks = errors.New("marks of the backfill are missing; it cannot be continued")

// check compares the digest at a line with the mark of that line, if it has one. digest
// returns the digest of all lines up to that line. The error is a *ChangedError, errNoMarks,
// or one of the store.
func (c *checks) check(ctx context.Context, line int, digest func() string) error {
	// Fetch the next page of marks.
	if len(c.marks) == 0 && !c.allRead {
		var err error
		if c.marks, err = c.store.Marks(ctx, c.id, c.next, marksAtOnce); err != nil {
			return err
		}
		c.next += len(c.marks)
		c.allRead = len(c.marks) < marksAtOnce
	}
	switch {
	case len(c.marks) == 0:
		return errNoMarks
	case line < c.marks[0].Lines:
		return nil
	case digest() != c.marks[0].Digest:
		return &ChangedError{From: c.since + 1, To: c.marks[0].Lines}
	}
	c.since, c.marks = c.marks[0].Lines, c.marks[1:]
	return nil
}
