package worker

import (
	"fmt"
	"sync"
	"time"

	"github.com/hibiken/asynq"

	"cloudidq/tasks"
)

// resolveQueues are the queues that hold cloudid:resolve tasks.
var resolveQueues = [...]string{tasks.QueueEvents, tasks.QueueBackfill}

// queues are those this worker takes tasks from.
func (c *Config) queues() []string {
	if len(c.Webhooks) == 0 {
		return resolveQueues[:]
	}
	return append(resolveQueues[:], tasks.QueueWebhooks)
}

// How often an empty queue is polled (the mean; asynq v0.26.0 processor.go:178-187 sleeps half to one and a half of
// it). asynq's own second would be a third of the time a user waits for an event; a backfill is in no hurry.
const (
	pollEvents   = 20 * time.Millisecond
	pollBackfill = 200 * time.Millisecond
	pollWebhooks = 50 * time.Millisecond
	// pollDelayed is how often tasks whose retry is due come back to their queue. asynq's 5 s are long in a life of
	// 5 minutes.
	pollDelayed = 500 * time.Millisecond
)

// start makes and starts the asynq servers. A server fetches one task at a time and, given several queues, would poll
// them in turn; so each has one queue, and a queue has several servers, all over one Redis client.
func (w *Worker) start() ([]*asynq.Server, error) {
	var servers []*asynq.Server
	for _, queue := range w.cfg.queues() {
		for _, slots := range split(w.slots(queue), w.cfg.Fetchers) {
			srv := asynq.NewServerFromRedisClient(w.rdb, w.serverConfig(queue, slots))
			if err := srv.Start(w.handler); err != nil {
				shutdown(servers, w.shares.stop)
				return nil, fmt.Errorf("starting the server of queue %s: %w", queue, err)
			}
			servers = append(servers, srv)
		}
	}
	return servers, nil
}

func (w *Worker) serverConfig(queue string, slots int) asynq.Config {
	poll := pollEvents
	switch queue {
	case tasks.QueueBackfill:
		poll = pollBackfill
	case tasks.QueueWebhooks:
		poll = pollWebhooks
	}
	return asynq.Config{
		Concurrency:              slots,
		Queues:                   map[string]int{queue: 1},
		TaskCheckInterval:        poll,
		DelayedTaskCheckInterval: pollDelayed,
		RetryDelayFunc:           w.redact.retryDelayOf(queue),
		IsFailure:                isFailure,
		ShutdownTimeout:          w.cfg.ShutdownTimeout - w.cfg.ShutdownTimeout/stopReserve,
		Logger:                   asynqLog{w.log},
		LogLevel:                 asynq.InfoLevel,
	}
}

// slots is the share of Concurrency that belongs to a queue, at least one.
func (w *Worker) slots(queue string) int {
	var sum int
	for _, q := range w.cfg.queues() {
		sum += max(1, w.cfg.Shares[q])
	}
	return max(1, w.cfg.Concurrency*max(1, w.cfg.Shares[queue])/sum)
}

// allSlots is slots for every queue.
func (w *Worker) allSlots() map[string]int {
	all := make(map[string]int)
	for _, queue := range w.cfg.queues() {
		all[queue] = w.slots(queue)
	}
	return all
}

// split divides slots among at most n servers, as evenly as it goes.
func split(slots, n int) []int {
	n = min(n, slots)
	parts := make([]int, n)
	for i := range parts {
		parts[i] = slots / n
		if i < slots%n {
			parts[i]++
		}
	}
	return parts
}

// shutdown stops all servers side by side. They fetch no more, then fetched is called, then each waits for its handlers and
// returns their tasks to the queue.
func shutdown(servers []*asynq.Server, fetched func()) {
	var wg sync.WaitGroup
	for _, srv := range servers {
		wg.Go(srv.Stop)
	}
	wg.Wait()
	fetched()
	for _, srv := range servers {
		wg.Go(srv.Shutdown)
	}
	wg.Wait()
}
