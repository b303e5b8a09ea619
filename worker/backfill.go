package worker

import (
	"context"
	"sync"
	"time"

	"cloudidq/internal/backfill"
	"cloudidq/store"
	"cloudidq/tasks"
)

// backfills is the part of [backfill.Store] that the worker uses.
type backfills interface {
	// Report sets the total of finished cloudIDs of a chunk. It may be repeated.
	Report(ctx context.Context, id string, chunk int, finished backfill.Counts) error
	// ReportLost counts as failed all cloudIDs of a chunk without a final status.
	ReportLost(ctx context.Context, id string, chunk int) error
	// Canceled reports whether a backfill was canceled, so that no request is made for it any
	// more.
	Canceled(ctx context.Context, id string) (bool, error)
}

// canceledFor is how long an answer of Canceled is cached.
const canceledFor = time.Second

// bulk reports the finished cloudIDs of backfills, and caches which backfills are canceled. A
// nil *bulk does neither.
type bulk struct {
	backfills backfills

	mu   sync.Mutex
	seen map[string]sighting // by id; guarded by mu
}

// sighting is a cached answer of Canceled.
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

// maxSeen bounds the cache. It is far more than the number of backfills that run at once.
const maxSeen = 1000

// canceled reports whether a backfill is canceled. It queries the store at most once per
// canceledFor and backfill.
func (b *bulk) canceled(ctx context.Context, id string) (bool, error) {
	now := time.Now()
	b.mu.Lock()
	last, cached := b.seen[id]
	b.mu.Unlock()
	if cached && now.Before(last.until) {
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

// lost counts the cloudIDs of an unreadable task as failed. The task id is the only source of
// the backfill and the chunk. A task that is no chunk of a backfill is not counted.
func (b *bulk) lost(ctx context.Context, taskID string) error {
	id, chunk, ok := tasks.ParseChunkTaskID(taskID)
	if !ok || b == nil {
		return nil
	}
	return b.backfills.ReportLost(ctx, id, chunk)
}

// part identifies the chunk of a backfill that a task carries.
type part struct {
	id    string
	chunk int
}

// partOf returns the chunk that a task carries, or nil if it carries none. A producer may set
// the backfill field itself, so the task id must name the same backfill.
func (b *bulk) partOf(taskID string, p tasks.ResolvePayload) *part {
	id, chunk, ok := tasks.ParseChunkTaskID(taskID)
	if b == nil || !ok || id != p.Backfill {
		return nil
	}
	return &part{id, chunk}
}

// checkCanceled sets canceled if the task is part of a canceled backfill.
func (r *resolution) checkCanceled(ctx context.Context) error {
	if r.part == nil {
		return nil
	}
	var err error
	if r.canceled, err = r.h.bulk.canceled(ctx, r.part.id); err != nil {
		return r.storeTrouble(ctx, err)
	}
	return nil
}

// failCanceled gives the open cloudIDs the status failed, if their backfill was canceled.
func (r *resolution) failCanceled(now time.Time) {
	if !r.canceled {
		return
	}
	for i := range r.items {
		if it := &r.items[i]; it.open {
			r.finish(it, store.Failed, finalError(it, "its backfill was canceled"), now)
		}
	}
}

// tally reports the finished cloudIDs to the backfill, after an attempt that returned err. It
// reports after the records were saved and before the task is acknowledged. If the worker
// crashes in between, the next attempt finds the records finished and reports them again. tally
// returns err, or an error of the store.
func (r *resolution) tally(ctx context.Context, err error) error {
	if r.part == nil || len(r.unsaved) > 0 || ctx.Err() != nil {
		return err
	}
	finished := backfill.Counts{Failed: r.payload.Erased} // erased cloudIDs count as failed
	for i := range r.items {
		switch it := &r.items[i]; it.finalStatus {
		case store.Resolved:
			finished.Resolved += it.lines
		case store.Failed:
			finished.Failed += it.lines
		case store.Expired:
			finished.Expired += it.lines
		case store.Pending, "":
		}
	}
	if finished == (backfill.Counts{}) {
		return err
	}
	if failed := r.h.bulk.backfills.Report(ctx, r.part.id, r.part.chunk, finished); failed != nil {
		return r.storeTrouble(ctx, failed)
	}
	return err
}
