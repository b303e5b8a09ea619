package backfill

import (
	"context"
	"errors"

	"cloudidq/internal/lines"
	"cloudidq/store"
)

// reading is a goroutine that reads ahead of the one that writes.
type reading struct {
	batches chan batch
	free    chan []lines.Line
	leave   chan struct{} // closed when nobody takes batches any more
	left    chan struct{} // closed when the goroutine has ended
}

// batch is lines, and what came behind them instead of a line.
type batch struct {
	lines []lines.Line
	err   error
}

// readAhead is how many batches are read before the first of them has been taken.
const readAhead = windowLines / batchLines

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

// release gives the memory of a batch back.
func (in *reading) release(b batch) { in.free <- b.lines[:cap(b.lines)] }

// stop ends the goroutine. It waits for it if there is a way to end a read.
func (in *reading) stop(unblock func()) {
	close(in.leave)
	if unblock == nil {
		return
	}
	unblock()
	<-in.left
}

// checks holds the lines that are in against what they were when they came in. It looks at the marks of then, some at a
// time.
type checks struct {
	store *store.Backfills
	id    string

	marks []store.Mark // ahead
	next  int          // position of the first mark behind those
	since int          // lines that are right
	done  bool         // all marks have been read
}

const marksAtOnce = 1000

// errNoMarks says that the marks end before the lines do, which only a foreign hand in Redis brings about.
var errNoMarks = errors.New("the marks of a backfill are not all there; it cannot go on")

// check is told that a line has been read, with a way to get the digest of the lines up to there.
func (c *checks) check(ctx context.Context, line int, digest func() string) error {
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
