package backfill

import (
	"context"
	"errors"

	"cloudidq/internal/lines"
)

// reading is a goroutine that reads the source ahead of the goroutine that writes.
type reading struct {
	batches chan batch
	free    chan []lines.Line // memory of batches, for reuse
	leave   chan struct{}     // closed when no more batches are taken
	left    chan struct{}     // closed when the goroutine has ended
}

// batch is a number of lines, and the error of the source after them.
type batch struct {
	lines []lines.Line
	err   error
}

// readAhead is how many batches are read ahead: one window.
const readAhead = windowLines / batchLines

// startReading starts the goroutine. The caller calls stop.
func startReading(source Source) *reading {
	in := &reading{
		batches: make(chan batch, readAhead), free: make(chan []lines.Line, readAhead+1), leave: make(chan struct{}), left: make(chan struct{}),
	}
	for range readAhead {
		in.free <- make([]lines.Line, batchLines)
	}
	go in.run(source)
	return in
}

func (in *reading) run(source Source) {
	defer close(in.left)
	for {
		var b batch
		select {
		case into := <-in.free:
			n, err := source.Read(into)
			b = batch{into[:n], err}
		case <-in.leave:
			return
		}
		select {
		case in.batches <- b:
		case <-in.leave:
			return
		}
		if b.err != nil {
			return
		}
	}
}

// release returns the memory of a batch for reuse.
func (in *reading) release(b batch) { in.free <- b.lines[:cap(b.lines)] }

// stop ends the goroutine. If unblock is not nil, stop calls it to end a blocked Read, and
// waits for the goroutine.
func (in *reading) stop(unblock func()) {
	close(in.leave)
	if unblock == nil {
		return
	}
	unblock()
	<-in.left
}

// checks compares the input with the lines that are loaded already. The store has marks, which
// are digests at certain lines. checks reads marksAtOnce of them at a time.
type checks struct {
	store *Store
	id    string

	marks []Mark // the next marks to compare
	next  int    // position of the first mark after those
	since int    // the lines up to this one are unchanged
	done  bool   // all marks have been read from the store
}

const marksAtOnce = 1000

// errNoMarks means that the marks end before the loaded lines do. This happens only if Redis
// was modified externally.
var errNoMarks = errors.New("the marks of a backfill are not all there; it cannot go on")

// check compares the digest at a line with the mark of that line, if it has one. digest
// returns the digest of all lines up to that line. The error is a *ChangedError, errNoMarks,
// or one of the store.
func (c *checks) check(ctx context.Context, line int, digest func() string) error {
	// Fetch the next page of marks.
	if len(c.marks) == 0 && !c.done {
		var err error
		if c.marks, err = c.store.Marks(ctx, c.id, c.next, marksAtOnce); err != nil {
			return err
		}
		c.next += len(c.marks)
		c.done = len(c.marks) < marksAtOnce
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
