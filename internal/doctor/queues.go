package doctor

import (
	"context"
	"time"
)

// QueueState describes a queue and the workers that serve it.
type QueueState struct {
	Name     string
	Paused   bool
	Size     int // tasks in any state
	Pending  int
	Archived int
	Latency  time.Duration // age of the oldest pending task
	Workers  int           // live servers of the queue
	Unnamed  bool          // missing from asynq's set of queues, although it has or had tasks
	Err      error         // set if asynq cannot describe the queue
}

// slow is a latency that uses up a noticeable part of a cloudID's five minutes.
const slow = 30 * time.Second

// Queues checks the queues that inspect returns.
func Queues(inspect func(context.Context) ([]QueueState, error)) Check {
	return Check{Name: "queues", Run: func(ctx context.Context) []Finding {
		states, err := inspect(ctx)
		if err != nil {
			return []Finding{fail("see the finding for redis", "cannot be listed: %v", err)}
		}
		var all []Finding
		for _, state := range states {
			for _, f := range checkQueue(state) {
				f.Check = "queue " + state.Name
				all = append(all, f)
			}
		}
		return all
	}}
}

// checkQueue checks one queue.
func checkQueue(s QueueState) []Finding {
	if s.Err != nil {
		return []Finding{fail("look for keys that were deleted or evicted",
			"asynq cannot describe it: %v", s.Err)}
	}
	var found []Finding
	if s.Unnamed {
		found = append(found, warn("start a worker, which registers the queue within seconds",
			"not registered with asynq (after FLUSHALL?): dashboards do not show its %d tasks",
			s.Size))
	}
	if s.Paused {
		found = append(found, fail("unpause it on the dashboard", "paused: its tasks are not processed"))
	}
	if s.Workers == 0 {
		found = append(found, warn("start cloudidq worker, or serve", "no worker serves it"))
	}
	if s.Latency > slow {
		found = append(found, warn("add workers, or raise worker.concurrency and max_in_flight",
			"the oldest of %d tasks has waited %s", s.Pending, s.Latency.Round(time.Second)))
	}
	return orOK(found, "%d pending, %d archived, servers: %d", s.Pending, s.Archived, s.Workers)
}
