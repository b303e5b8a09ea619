package worker

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/hibiken/asynq"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"cloudidq/tasks"
)

const (
	// queuesFresh is how long numbers are cached. Redis is queried once in that time, for any
	// number of scrapes.
	queuesFresh = 5 * time.Second
	// queuesPatience is how long a scrape waits for Redis before it returns the last numbers.
	queuesPatience = 2 * time.Second
	// queuesStale is the age from which numbers are not shown any more.
	queuesStale = time.Minute
)

// The series of asynq's own exporter (github.com/hibiken/asynq/x/metrics). asynqmon and
// existing dashboards use these names. cloudidq does not use that module, because it is not
// versioned together with asynq.
var (
	descQueueSize    = queueDesc("asynq_queue_size", "Tasks in a queue, archived and completed ones included.")
	descQueueLatency = queueDesc("asynq_queue_latency_seconds", "For how long the oldest pending task of a queue has waited.")
	descQueueMemory  = queueDesc("asynq_queue_memory_usage_approx_bytes", "Memory of a queue in Redis, from samples.")
	descQueuePaused  = queueDesc("asynq_queue_paused_total", "1 if a queue is paused, else 0.")
	descProcessed    = queueDesc("asynq_tasks_processed_total", "Tries of tasks, by all workers since the beginning.")
	descTasksFailed  = queueDesc("asynq_tasks_failed_total", "Tries of tasks that failed, by all workers since the beginning.")
	descEnqueued     = queueDesc("asynq_tasks_enqueued_total", "Tasks of a queue by state.", "state")
	descQueueFaults  = queueDesc("cloudidq_queue_scrape_failures_total", "How often a queue's numbers could not be had; its asynq_ series are missing then.")
)

func queueDesc(name, help string, more ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, append([]string{"queue"}, more...), nil)
}

// inspector is the part of [asynq.Inspector] that the collector uses, and Count.
type inspector interface {
	Queues() ([]string, error)
	GetQueueInfo(queue string) (*asynq.QueueInfo, error)
	// Count returns the numbers of a queue that Queues does not list.
	Count(queue string) (*asynq.QueueInfo, error)
}

// queueInspector is asynq's inspector, with a Count for queues that asynq does not know.
type queueInspector struct {
	*asynq.Inspector
	rdb redis.UniversalClient
}

// Count implements inspector. Like the methods of asynq's inspector, it takes no context.
func (i queueInspector) Count(queue string) (*asynq.QueueInfo, error) {
	return tasks.Count(context.Background(), i.rdb, queue)
}

// QueueCollector is a [prometheus.Collector] of the sizes of the queues. Any process may have
// one, and all show the same values. If asynq cannot count a queue, the collector leaves that
// queue out and still shows the others. One cause is a task that has lost its hash
// (hibiken/asynq#380).
type QueueCollector struct {
	rdb       redis.UniversalClient // nil in tests
	inspector inspector
	queues    []string

	mu     sync.Mutex
	infos  map[string]*asynq.QueueInfo // by queue: the last numbers; guarded by mu
	faults map[string]int              // by queue: failed queries; guarded by mu
	at     time.Time                   // when the last query began; guarded by mu
	asking chan struct{}               // closed when the query is done; nil = no query; guarded by mu
	closed bool                        // guarded by mu
	asks   sync.WaitGroup              // the query under way; Add only under mu and before closed
}

// NewQueueCollector returns a collector that queries rdb. The collector owns rdb: Close closes
// it. It sends no query before the first scrape.
func NewQueueCollector(rdb redis.UniversalClient) *QueueCollector {
	c := newQueueCollector(queueInspector{asynq.NewInspectorFromRedisClient(rdb), rdb})
	c.rdb = rdb
	return c
}

func newQueueCollector(i inspector) *QueueCollector {
	return &QueueCollector{
		inspector: i, queues: []string{tasks.QueueEvents, tasks.QueueBackfill, tasks.QueueWebhooks},
		infos: make(map[string]*asynq.QueueInfo), faults: make(map[string]int),
	}
}

// Close closes the Redis client, which ends a query under way, and waits for it.
func (c *QueueCollector) Close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	if c.rdb != nil {
		_ = c.rdb.Close() // a query under way fails
	}
	c.asks.Wait()
}

// Describe implements [prometheus.Collector].
func (c *QueueCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{
		descQueueSize, descQueueLatency, descQueueMemory, descQueuePaused, descProcessed, descTasksFailed, descEnqueued, descQueueFaults,
	} {
		ch <- desc
	}
}

// Collect implements [prometheus.Collector]. It waits for Redis for at most two seconds
// (queuesPatience).
func (c *QueueCollector) Collect(ch chan<- prometheus.Metric) {
	// If Redis is slow, the scrape returns the last numbers.
	if answered := c.ask(); answered != nil {
		patience := time.NewTimer(queuesPatience)
		defer patience.Stop()
		select {
		case <-answered:
		case <-patience.C:
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, queue := range c.queues {
		if info := c.infos[queue]; info != nil && time.Since(info.Timestamp) < queuesStale {
			collectQueue(ch, info)
		}
		ch <- prometheus.MustNewConstMetric(descQueueFaults, prometheus.CounterValue, float64(c.faults[queue]), queue)
	}
}

// ask starts a query, unless the last numbers are fresh or a query is under way. It returns a
// channel that is closed when the query is done, or nil if there is nothing to wait for.
func (c *QueueCollector) ask() chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.asking == nil && time.Since(c.at) < queuesFresh {
		return nil
	}
	if c.asking == nil {
		c.at, c.asking = time.Now(), make(chan struct{})
		c.asks.Go(c.refresh)
	}
	return c.asking
}

// refresh queries the numbers of all queues.
func (c *QueueCollector) refresh() {
	// asynq's GetQueueInfo fails for a queue that is not in its set of queues.
	known, err := c.inspector.Queues()
	for _, queue := range c.queues {
		var info *asynq.QueueInfo
		switch {
		case err != nil:
		case !slices.Contains(known, queue): // nothing was ever enqueued, or the set was deleted
			info, _ = c.inspector.Count(queue)
		default:
			info, _ = c.inspector.GetQueueInfo(queue)
		}
		c.take(queue, info)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.asking)
	c.asking = nil
}

// take stores the numbers of a queue. nil counts as a failure, and drops the old numbers.
func (c *QueueCollector) take(queue string, info *asynq.QueueInfo) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if info == nil {
		c.faults[queue]++
		delete(c.infos, queue)
		return
	}
	c.infos[queue] = info
}

// collectQueue sends the series of one queue.
func collectQueue(ch chan<- prometheus.Metric, info *asynq.QueueInfo) {
	gauge := func(desc *prometheus.Desc, value float64, more ...string) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, append([]string{info.Queue}, more...)...)
	}
	counter := func(desc *prometheus.Desc, value int) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(value), info.Queue)
	}
	paused := 0.0
	if info.Paused {
		paused = 1
	}
	gauge(descQueueSize, float64(info.Size))
	gauge(descQueueLatency, info.Latency.Seconds())
	gauge(descQueueMemory, float64(info.MemoryUsage))
	gauge(descQueuePaused, paused)
	counter(descProcessed, info.ProcessedTotal)
	counter(descTasksFailed, info.FailedTotal)
	for state, n := range map[string]int{
		"active": info.Active, "pending": info.Pending, "scheduled": info.Scheduled, "retry": info.Retry,
		"archived": info.Archived, "completed": info.Completed,
	} {
		gauge(descEnqueued, float64(n), state)
	}
}
