package queue

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
	// freshFor is how long numbers are cached. Redis is queried once in that time, for any
	// number of scrapes.
	freshFor = 5 * time.Second
	// scrapeWait is how long a scrape waits for Redis before it returns the last numbers.
	scrapeWait = 2 * time.Second
	// staleAfter is the age from which numbers are not shown any more.
	staleAfter = time.Minute
)

// The series of asynq's own exporter (github.com/hibiken/asynq/x/metrics). asynqmon and
// existing dashboards use these names. cloudidq does not use that module, because it is not
// versioned together with asynq.
var (
	descSize = queueDesc("asynq_queue_size",
		"Tasks in a queue, including archived and completed tasks.")
	descLatency = queueDesc("asynq_queue_latency_seconds",
		"Age of the oldest pending task of a queue.")
	descMemory = queueDesc("asynq_queue_memory_usage_approx_bytes",
		"Memory of a queue in Redis, estimated from samples.")
	descPaused = queueDesc("asynq_queue_paused_total",
		"1 if a queue is paused, else 0.")
	descProcessed = queueDesc("asynq_tasks_processed_total",
		"Attempts of tasks by all workers.")
	descFailed = queueDesc("asynq_tasks_failed_total",
		"Failed attempts of tasks by all workers.")
	descTasks = queueDesc("asynq_tasks_enqueued_total",
		"Tasks of a queue by state.", "state")
	descFailures = queueDesc("cloudidq_queue_scrape_failures_total",
		"Failed queries for the numbers of a queue. After a failure its asynq_ series are missing.")
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
	return Count(context.Background(), i.rdb, queue)
}

// Collector is a [prometheus.Collector] of the sizes of the queues. Any process may have
// one, and all show the same values. If asynq cannot count a queue, the collector leaves that
// queue out and still shows the others. One cause is a task that has lost its hash
// (hibiken/asynq#380).
type Collector struct {
	rdb       redis.UniversalClient // nil in tests
	inspector inspector
	queues    []string

	mu       sync.Mutex
	infos    map[string]*asynq.QueueInfo // by queue: the last numbers; guarded by mu
	failures map[string]int              // by queue: failed queries; guarded by mu
	begun    time.Time                   // when the last query began; guarded by mu
	querying chan struct{}               // closed after the query; nil = no query; guarded by mu
	closed   bool                        // guarded by mu
	queries  sync.WaitGroup              // the query in progress; Add only under mu and before closed
}

// NewCollector returns a collector that queries rdb. The collector owns rdb: Close closes
// it. It sends no query before the first scrape.
func NewCollector(rdb redis.UniversalClient) *Collector {
	c := newCollector(queueInspector{asynq.NewInspectorFromRedisClient(rdb), rdb})
	c.rdb = rdb
	return c
}

func newCollector(i inspector) *Collector {
	return &Collector{
		inspector: i,
		queues:    []string{tasks.QueueEvents, tasks.QueueBackfill, tasks.QueueWebhooks},
		infos:     make(map[string]*asynq.QueueInfo), failures: make(map[string]int),
	}
}

// Close closes the Redis client, which ends a query in progress, and waits for it.
func (c *Collector) Close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	if c.rdb != nil {
		_ = c.rdb.Close() // a query in progress fails
	}
	c.queries.Wait()
}

// Describe implements [prometheus.Collector].
func (c *Collector) Describe(ch chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{
		descSize, descLatency, descMemory, descPaused, descProcessed, descFailed, descTasks, descFailures,
	} {
		ch <- desc
	}
}

// Collect implements [prometheus.Collector]. It waits for Redis for at most two seconds
// (scrapeWait).
func (c *Collector) Collect(ch chan<- prometheus.Metric) {
	// If Redis is slow, the scrape returns the last numbers.
	if answered := c.startQuery(); answered != nil {
		patience := time.NewTimer(scrapeWait)
		defer patience.Stop()
		select {
		case <-answered:
		case <-patience.C:
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, queue := range c.queues {
		if info := c.infos[queue]; info != nil && time.Since(info.Timestamp) < staleAfter {
			collectQueue(ch, info)
		}
		ch <- prometheus.MustNewConstMetric(
			descFailures, prometheus.CounterValue, float64(c.failures[queue]), queue)
	}
}

// startQuery starts a query, unless the last numbers are fresh or a query is in progress. It
// returns a channel that is closed when the query is done, or nil if there is nothing to wait for.
func (c *Collector) startQuery() chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.querying == nil && time.Since(c.begun) < freshFor {
		return nil
	}
	if c.querying == nil {
		c.begun, c.querying = time.Now(), make(chan struct{})
		c.queries.Go(c.refresh)
	}
	return c.querying
}

// refresh queries the numbers of all queues.
func (c *Collector) refresh() {
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
		c.setInfo(queue, info)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.querying)
	c.querying = nil
}

// setInfo stores the numbers of a queue. nil counts as a failure, and drops the old numbers.
func (c *Collector) setInfo(queue string, info *asynq.QueueInfo) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if info == nil {
		c.failures[queue]++
		delete(c.infos, queue)
		return
	}
	c.infos[queue] = info
}

// collectQueue sends the series of one queue.
func collectQueue(ch chan<- prometheus.Metric, info *asynq.QueueInfo) {
	gauge := func(desc *prometheus.Desc, value float64, more ...string) {
		labels := append([]string{info.Queue}, more...)
		ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
	}
	counter := func(desc *prometheus.Desc, value int) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(value), info.Queue)
	}
	paused := 0.0
	if info.Paused {
		paused = 1
	}
	gauge(descSize, float64(info.Size))
	gauge(descLatency, info.Latency.Seconds())
	gauge(descMemory, float64(info.MemoryUsage))
	gauge(descPaused, paused)
	counter(descProcessed, info.ProcessedTotal)
	counter(descFailed, info.FailedTotal)
	for state, n := range map[string]int{
		stateActive: info.Active, statePending: info.Pending, stateScheduled: info.Scheduled,
		stateRetry: info.Retry, stateArchived: info.Archived, stateCompleted: info.Completed,
	} {
		gauge(descTasks, float64(n), state)
	}
}
