package worker

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"cloudidq/internal/queue"
)

const (
	// aheadEvery is how often a queue is scanned while tasks wait for a slot of their app. A
	// task of another app may have to wait that long for a slot.
	aheadEvery = 100 * time.Millisecond
	// aheadReads is how many tasks one scan reads. Each task is read once, so after one pass
	// through the backlog only new tasks are read.
	aheadReads = 80
	// aheadLast bounds the last scan, after ctx has ended.
	aheadLast = 2 * time.Second
)

// ahead scans a queue past the tasks of an app that waits for its share of the slots, and lets
// the tasks of other apps go first. For each of these, one waiting task yields its slot: it is
// requeued for a retry and then moved back to the head of the queue, by [queue.MoveAhead].
//
// Every worker process has one per queue. It does nothing unless tasks wait.
type ahead struct {
	rdb    redis.UniversalClient
	queue  string
	shares *shares
	log    *slog.Logger

	mark string // where the next scan reads on; used by run only
}

// run scans until ctx ends. Then it returns the tasks that have yielded to the head of the queue.
func (a *ahead) run(ctx context.Context) {
	tick := time.NewTicker(aheadEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if err := a.scan(ctx); err != nil && ctx.Err() == nil {
				a.log.Error("cannot scan the queue for tasks of other apps",
					"queue", a.queue, "error", err)
			}
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), aheadLast)
			defer cancel()
			if err := a.scan(last); err != nil {
				a.log.Error("cannot return tasks to the head of their queue",
					"queue", a.queue, "error", err)
			}
			return
		}
	}
}

// scan makes one scan, if tasks wait or have yielded.
func (a *ahead) scan(ctx context.Context) error {
	appID, waiting, back := a.shares.crowd(a.queue, time.Now())
	if waiting == 0 && len(back) == 0 {
		a.mark = ""
		return nil
	}
	moved, err := queue.MoveAhead(ctx, a.rdb, a.queue, queue.Ahead{
		AppID: appID, Most: waiting, Reads: aheadReads, Mark: a.mark, Return: back,
	})
	if err != nil {
		return err
	}
	a.mark = moved.Mark
	a.shares.applyScan(a.queue, moved, time.Now())
	return nil
}

// crowd returns the app whose tasks wait for slots and the number of these tasks. It also
// returns the ids of the tasks that have yielded, the oldest first.
func (s *shares) crowd(queue string, now time.Time) (appID string, waiting int, back []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.rooms[queue]
	if r == nil {
		return "", 0, nil
	}
	// Forget tasks past their time. They have come due by themselves or a worker has them, so
	// they are back already.
	r.yielded = slices.DeleteFunc(r.yielded, func(b yieldedTask) bool { return now.After(b.until) })
	slices.SortFunc(r.yielded, func(a, b yieldedTask) int { return a.number - b.number })
	for _, b := range r.yielded {
		appID, back = b.appID, append(back, b.taskID)
	}
	if len(r.waiting) > 0 {
		appID = r.waiting[0].appID
	} else {
		// No scan runs now, so an earlier result no longer holds.
		r.nobody = false
	}
	return appID, len(r.waiting), back
}

// applyScan applies the result of a scan: tasks that are back at the head need no more help, and
// as many waiting tasks yield as tasks of other apps need slots.
func (s *shares) applyScan(name string, moved queue.Moved, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.rooms[name]
	r.yielded = slices.DeleteFunc(r.yielded, func(b yieldedTask) bool {
		return slices.Contains(moved.Returned, b.taskID)
	})
	r.nobody = moved.Unread == 0 && moved.Others == 0
	occupied := len(r.waiting)
	for _, n := range r.working {
		occupied += n
	}
	// Free slots take tasks of others first. Only for the rest must waiting tasks yield.
	if need := moved.Others - max(0, r.slots-occupied); need > 0 {
		r.requeueLast(need)
	}
	r.admit(now)
}
