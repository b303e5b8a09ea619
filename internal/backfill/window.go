package backfill

import (
	"context"
	"errors"
	"time"

	"github.com/sethvargo/go-retry"
	"golang.org/x/sync/errgroup"

	"cloudidq/internal/lines"
	"cloudidq/tasks"
)

const (
	windowLines = 4096 // maximum lines in a window
	writersMax  = 8    // tasks of a window that are written concurrently

	// persistFor is how long a step is repeated while Redis does not answer. After that, the
	// load fails and has to be resumed.
	persistFor = 30 * time.Second
	// fullEvery is how often a waiting load checks for room.
	fullEvery = 500 * time.Millisecond
)

// room waits until the queue has room and the app is not paused. After Options.MaxFull, it
// returns [ErrFull] or [ErrPaused].
func (r *run) room(ctx context.Context) error {
	why := r.Pressure.Room(ctx, r.at.Backfill.AppID)
	if why == nil {
		return nil
	}
	if r.options.Full != nil {
		r.options.Full(why)
	}
	begun := time.Now()
	tick := time.NewTicker(fullEvery)
	defer tick.Stop()
	for ; why != nil; why = r.Pressure.Room(ctx, r.at.Backfill.AppID) {
		if r.options.MaxFull > 0 && time.Since(begun) >= r.options.MaxFull {
			return why
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// write loads the window: it begins the window, writes its tasks and commits it. This sequence
// may be repeated any number of times.
func (r *run) write(ctx context.Context) error {
	// WriteChunk validates by this clock too, so it accepts every item that cut has accepted.
	now, err := r.Producer.Now(ctx)
	if err != nil {
		return err
	}
	w, chunks := r.cut(now)
	// An earlier attempt may have got as far as any of the three steps.
	err = r.persist(ctx, func(ctx context.Context) error {
		ended, committed, err := r.Store.Begin(ctx, &r.at, w)
		if err != nil {
			return err
		}
		if !committed {
			if err := r.enqueue(ctx, chunks, ended); err != nil {
				return err
			}
		}
		return r.Store.Commit(ctx, &r.at, w)
	})
	// The window that an earlier load began had other lines.
	if errors.Is(err, ErrDiffers) && r.at.Begun != nil && r.at.Begun.Digest != w.Digest {
		err = &ChangedError{From: r.at.Backfill.Lines + 1, To: r.at.Begun.To}
	}
	if err != nil {
		return err
	}
	// The window is committed. Report it.
	r.lines = r.lines[:0]
	for _, reject := range w.Rejects {
		if r.options.Reject != nil {
			r.options.Reject(reject)
		}
	}
	if r.options.Progress != nil {
		r.options.Progress(r.at.Backfill)
	}
	return nil
}

// persist repeats a step while Redis does not answer, for up to persistFor. It does not repeat
// a step that the store refused, see [final].
func (r *run) persist(ctx context.Context, step func(context.Context) error) error {
	b := retry.WithMaxDuration(persistFor, retry.WithCappedDuration(time.Second, retry.WithJitterPercent(50, retry.NewExponential(50*time.Millisecond))))
	var last error
	err := retry.Do(ctx, b, func(ctx context.Context) error {
		if last = step(ctx); last == nil || final(last) {
			return last
		}
		return retry.RetryableError(last)
	})
	if err != nil && last != nil && ctx.Err() == nil {
		return last // more useful than the error of the time limit
	}
	return err
}

// final reports whether a repetition would return the same error.
func final(err error) bool {
	_, invalid := errors.AsType[*tasks.InvalidError](err)
	return invalid || errors.Is(err, ErrNotFound) || errors.Is(err, ErrTaken) ||
		errors.Is(err, ErrCanceled) || errors.Is(err, ErrComplete) ||
		errors.Is(err, ErrDiffers)
}

// enqueue writes the tasks of a window. It skips chunks in which all cloudIDs have a final status.
func (r *run) enqueue(ctx context.Context, chunks [][]tasks.Item, ended []bool) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(writersMax)
	bf := &r.at.Backfill
	for i, items := range chunks {
		if ended[i] {
			continue
		}
		chunk := tasks.Chunk{Backfill: bf.ID, Number: r.at.First() + i, AppID: bf.AppID, Webhook: bf.Webhook, Items: items}
		g.Go(func() error { return r.Producer.WriteChunk(ctx, chunk) })
	}
	return g.Wait()
}

// cut validates the lines of the window, and splits the valid ones into chunks. The same lines
// always give the same chunks: a window that an earlier load began is validated as of the time
// it was begun, and a new window as of now.
func (r *run) cut(now time.Time) (*Window, [][]tasks.Item) {
	w := &Window{To: r.read, Digest: r.sum(), Checked: now}
	if r.at.Begun != nil {
		w.Checked = r.at.Begun.Checked
	}
	var chunks [][]tasks.Item
	// Sort the lines into rejected and accepted ones.
	items := make([]tasks.Item, 0, len(r.lines))
	for i := range r.lines {
		line := &r.lines[i]
		switch reason := verdict(line, w.Checked); {
		case line.Blank:
		case reason != "":
			w.Rejected++
			w.Rejects = append(w.Rejects, Reject{Line: line.Number, Error: reason})
		default:
			w.Accepted++
			items = append(items, line.Item)
		}
	}
	// Split the accepted items. The store gets the cloudIDs of each chunk, and the
	// tasks get the items.
	for len(items) > 0 {
		n := chunkOf(items)
		ids := make([]string, n)
		for i := range ids {
			ids[i] = items[i].CloudID
		}
		w.Chunks = append(w.Chunks, ids)
		chunks = append(chunks, items[:n:n])
		items = items[n:]
	}
	return w, chunks
}

// verdict returns why a line is rejected, or "". The validation is as of the time at.
func verdict(line *lines.Line, at time.Time) string {
	if line.Blank || line.Reason != "" {
		return line.Reason
	}
	if err := line.Item.Validate(at); err != nil {
		return err.Error()
	}
	return ""
}

// chunkOf returns how many of the first items go into one task, at most tasks.MaxItems. If a
// cloudID repeats with another openid, it starts the next chunk. A task stores one outcome per
// cloudID, and WeChat has to decide for each pair to whom the cloudID belongs.
func chunkOf(items []tasks.Item) int {
	most := min(len(items), tasks.MaxItems)
	seen := make(map[string]string, most)
	for i := range items[:most] {
		openID, repeated := seen[items[i].CloudID]
		if repeated && openID != items[i].OpenID {
			return i
		}
		seen[items[i].CloudID] = items[i].OpenID
	}
	return most
}
