package worker

import (
	"context"
	"sync"
	"time"

	"cloudidq/store"
	"cloudidq/tasks"
)

// backfills is the part of [store.Backfills] that the worker uses.
type backfills interface {
	// Report counts what has ever ended of a chunk. It may be repeated.
	Report(ctx context.Context, id string, chunk int, ends store.Ends) error
	// ReportLost counts all of a chunk that has not ended as failed.
	ReportLost(ctx context.Context, id string, chunk int) error
	// Canceled reports whether nothing of a backfill is to be asked any more.
	Canceled(ctx context.Context, id string) (bool, error)
}

// canceledFor is how long it is believed that a backfill is not canceled.
const canceledFor = time.Second

// bulk counts the ends of backfills and knows which are canceled. nil does neither.
type bulk struct {
	backfills backfills

	mu   sync.Mutex
	seen map[string]sighting // by id; guarded by mu
}

type sighting struct {
	canceled bool
	until    time.Time
}

func newBulk(b backfills) *bulk {
	if b == nil {
		return nil
	}
	return &bulk{backfills: b, seen: make(map[string]sighting)}
}

// maxSeen bounds what is remembered: far more backfills than run at once.
const maxSeen = 1000

// canceled asks at most once a second for each backfill.
func (b *bulk) canceled(ctx context.Context, id string) (bool, error) {
	now := time.Now()
	b.mu.Lock()
	last, known := b.seen[id]
	b.mu.Unlock()
	if known && now.Before(last.until) {
		return last.canceled, nil
	}
	canceled, err := b.backfills.Canceled(ctx, id)
	if err != nil {
		return false, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.seen) >= maxSeen {
		clear(b.seen)
	}
	b.seen[id] = sighting{canceled, now.Add(canceledFor)}
	return canceled, nil
}

// lost counts a task that cannot be read. What its id says is all that is known of it.
func (b *bulk) lost(ctx context.Context, taskID string) error {
	id, chunk, ok := tasks.ParseChunkTaskID(taskID)
	if !ok || b == nil {
		return nil
	}
	return b.backfills.ReportLost(ctx, id, chunk)
}

// part is the chunk of a backfill that a task is.
type part struct {
	id    string
	chunk int
}

// partOf returns nil for a task that is none, such as one whose producer has put a name of his own there.
func (b *bulk) partOf(taskID string, p tasks.ResolvePayload) *part {
	id, chunk, ok := tasks.ParseChunkTaskID(taskID)
	if b == nil || !ok || id != p.Backfill {
		return nil
	}
	return &part{id, chunk}
}

// lookUp finds out whether the backfill is canceled.
func (r *resolution) lookUp(ctx context.Context) error {
	if r.part == nil {
		return nil
	}
	var err error
	if r.canceled, err = r.h.bulk.canceled(ctx, r.part.id); err != nil {
		return r.storeTrouble(ctx, err)
	}
	return nil
}

// endCanceled ends what is open of a backfill that is canceled.
func (r *resolution) endCanceled(now time.Time) {
	if !r.canceled {
		return
	}
	for i := range r.items {
		if it := &r.items[i]; it.open {
			r.end(it, store.Failed, lastWords(it, "its backfill was canceled"), now)
		}
	}
}

// tally counts what has ended of the backfill, after a try that came to err. It is told after the records have been saved
// and before the task is acknowledged: a crash between leads to another try, which finds them done and tells it again.
func (r *resolution) tally(ctx context.Context, err error) error {
	if r.part == nil || len(r.unsaved) > 0 || ctx.Err() != nil {
		return err
	}
	ends := store.Ends{Failed: r.payload.Erased} // counted so, as those are that are found erased
	for i := range r.items {
		switch it := &r.items[i]; it.ended {
		case store.Resolved:
			ends.Resolved += it.lines
		case store.Failed:
			ends.Failed += it.lines
		case store.Expired:
			ends.Expired += it.lines
		case store.Pending, "":
		}
	}
	if ends == (store.Ends{}) {
		return err
	}
	if told := r.h.bulk.backfills.Report(ctx, r.part.id, r.part.chunk, ends); told != nil {
		return r.storeTrouble(ctx, told)
	}
	return err
}
