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

	// retryFor is how long a step is repeated while Redis does not answer. After that, the
	// load fails and has to be resumed.
	retryFor = 30 * time.Second
	// roomPoll is how often a waiting load checks for room.
	roomPoll = 500 * time.Millisecond
)

// waitForRoom waits until the queue has room and the app is not paused. After Options.MaxFull, it
// returns [ErrFull] or [ErrPaused].
func (s *session) waitForRoom(ctx context.Context) error {
	why := s.Pressure.Room(ctx, s.loading.Backfill.AppID)
	if why == nil {
		return nil
	}
	if s.options.Full != nil {
		s.options.Full(why)
	}
	begun := time.Now()
	tick := time.NewTicker(roomPoll)
	defer tick.Stop()
	for ; why != nil; why = s.Pressure.Room(ctx, s.loading.Backfill.AppID) {
		if s.options.MaxFull > 0 && time.Since(begun) >= s.options.MaxFull {
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

// writeWindow loads the window: it begins the window, writes its tasks and commits it. This
// sequence may be repeated any number of times.
func (s *session) writeWindow(ctx context.Context) error {
	// WriteChunk validates by this clock too, so it accepts every item that buildWindow has accepted.
	now, err := s.Producer.Now(ctx)
	if err != nil {
		return err
	}
	w, chunks := s.buildWindow(now)
	// An earlier attempt may have got as far as any of the three steps.
	err = s.withRetry(ctx, func(ctx context.Context) error {
		finished, committed, err := s.Store.Begin(ctx, &s.loading, w)
		if err != nil {
			return err
		}
		if !committed {
			if err := s.enqueue(ctx, chunks, finished); err != nil {
				return err
			}
		}
		return s.Store.Commit(ctx, &s.loading, w)
	})
	// The window that an earlier load began had other lines.
	if errors.Is(err, ErrDiffers) && s.loading.Begun != nil && s.loading.Begun.Digest != w.Digest {
		err = &ChangedError{From: s.loading.Backfill.Lines + 1, To: s.loading.Begun.To}
	}
	if err != nil {
		return err
	}
	// The window is committed. Report it.
	s.lines = s.lines[:0]
	for _, reject := range w.Rejects {
		if s.options.Reject != nil {
			s.options.Reject(reject)
		}
	}
	if s.options.Progress != nil {
		s.options.Progress(s.loading.Backfill)
	}
	return nil
}

// withRetry repeats a step while Redis does not answer, for up to retryFor. It does not repeat
// a step that the store rejected, see [permanent].
func (s *session) withRetry(ctx context.Context, step func(context.Context) error) error {
	b := retry.WithMaxDuration(retryFor,
		retry.WithCappedDuration(time.Second,
			retry.WithJitterPercent(50, retry.NewExponential(50*time.Millisecond))))
	var last error
	err := retry.Do(ctx, b, func(ctx context.Context) error {
		if last = step(ctx); last == nil || permanent(last) {
			return last
		}
		return retry.RetryableError(last)
	})
	if err != nil && last != nil && ctx.Err() == nil {
		return last // more useful than the error of the time limit
	}
	return err
}

// permanent reports whether a retry would return the same error.
func permanent(err error) bool {
	_, invalid := errors.AsType[*tasks.InvalidError](err)
	return invalid || errors.Is(err, ErrNotFound) || errors.Is(err, ErrSuperseded) ||
		errors.Is(err, ErrCanceled) || errors.Is(err, ErrComplete) ||
		errors.Is(err, ErrDiffers)
}

// enqueue writes the tasks of a window. It skips chunks in which all cloudIDs have a final status.
func (s *session) enqueue(ctx context.Context, chunks [][]tasks.Item, finished []bool) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(writersMax)
	bf := &s.loading.Backfill
	for i, items := range chunks {
		if finished[i] {
			continue
		}
		chunk := tasks.Chunk{Backfill: bf.ID, Number: s.loading.NextChunk() + i, AppID: bf.AppID,
			Webhook: bf.Webhook, Items: items}
		g.Go(func() error { return s.Producer.WriteChunk(ctx, chunk) })
	}
	return g.Wait()
}

// buildWindow validates the lines of the window, and splits the valid ones into chunks. The same
// lines always give the same chunks: a window that an earlier load began is validated as of the
// time it was begun, and a new window as of now.
func (s *session) buildWindow(now time.Time) (*Window, [][]tasks.Item) {
	w := &Window{To: s.read, Digest: s.digestSoFar(), Checked: now}
	if s.loading.Begun != nil {
		w.Checked = s.loading.Begun.Checked
	}
	var chunks [][]tasks.Item
	// Sort the lines into rejected and accepted ones.
	items := make([]tasks.Item, 0, len(s.lines))
	for i := range s.lines {
		line := &s.lines[i]
		switch reason := rejectReason(line, w.Checked); {
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
		n := chunkSize(items)
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

// rejectReason returns why a line is rejected, or "". The validation is as of the time at.
func rejectReason(line *lines.Line, at time.Time) string {
	if line.Blank || line.Reason != "" {
		return line.Reason
	}
	if err := line.Item.Validate(at); err != nil {
		return err.Error()
	}
	return ""
}

// chunkSize returns how many of the first items go into one task, at most tasks.MaxItems. If a
// cloudID repeats with another openid, it starts the next chunk. A task stores one result per
// cloudID, but WeChat checks for each pair whether the cloudID belongs to the user.
func chunkSize(items []tasks.Item) int {
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
