package worker

import (
	"fmt"
	"sync"
	"time"

	"github.com/hibiken/asynq"

	"cloudidq/internal/attempt"
	"cloudidq/internal/queue"
	"cloudidq/tasks"
)

// queues returns the queues that this worker takes tasks from.
func (c *Config) queues() []string {
	queues := queue.WithCloudIDs()
	if len(c.Webhooks) > 0 {
		queues = append(queues, tasks.QueueWebhooks)
	}
	return queues
}

// These are the mean intervals at which an empty queue is polled. asynq sleeps between half and
// one and a half times the interval (v0.26.0 processor.go:178-187). asynq's default of one
// second would be a third of the time that a user waits for an event. A backfill is not urgent.
const (
	pollEvents   = 20 * time.Millisecond
	pollBackfill = 200 * time.Millisecond
	pollWebhooks = 50 * time.Millisecond
	// pollDelayed is how often tasks whose retry is due return to their queue. asynq's default
	// of 5 s is long compared with a lifetime of 5 minutes.
	pollDelayed = 500 * time.Millisecond
)

// start creates and starts the asynq servers. A server fetches one task at a time, and if it
// had several queues it would poll them in turn. So each server has one queue, each queue has
// several servers, and all servers share one Redis client. If a server does not start, start
// stops the others and returns an error.
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
		RetryDelayFunc:           w.redactor.RetryDelay(queue, retryDelay),
		IsFailure:                attempt.IsFailure,
		// The rest of the time is for the batcher and the background loops.
		ShutdownTimeout: w.cfg.ShutdownTimeout - w.cfg.ShutdownTimeout/stopReserve,
		Logger:          asynqLog{w.log},
		LogLevel:        asynq.InfoLevel,
	}
}

// slots returns a queue's part of Concurrency, at least one slot.
func (w *Worker) slots(queue string) int {
	var sum int
	for _, q := range w.cfg.queues() {
		sum += max(1, w.cfg.Shares[q])
	}
	return max(1, w.cfg.Concurrency*max(1, w.cfg.Shares[queue])/sum)
}

// allSlots returns the slots of every queue.
func (w *Worker) allSlots() map[string]int {
	all := make(map[string]int)
	for _, queue := range w.cfg.queues() {
		all[queue] = w.slots(queue)
	}
	return all
}

// split divides slots among at most n servers as evenly as possible. Each server gets at least
// one.
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

// shutdown stops all servers concurrently. First all servers stop fetching. Then shutdown calls
// fetched. Then each server waits for its handlers and returns unfinished tasks to the queue.
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
