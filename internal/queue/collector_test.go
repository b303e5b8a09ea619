package queue

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hibiken/asynq"
	"github.com/prometheus/client_golang/prometheus"

	"cloudidq/tasks"
)

// fakeInspector answers when the test lets it.
type fakeInspector struct {
	queried chan struct{}
	open    chan struct{}
}

func (f *fakeInspector) Queues() ([]string, error) {
	f.queried <- struct{}{}
	<-f.open
	return []string{tasks.QueueEvents}, nil
}

func (f *fakeInspector) Count(queue string) (*asynq.QueueInfo, error) {
	return &asynq.QueueInfo{Queue: queue, Timestamp: time.Now()}, nil
}

func (f *fakeInspector) GetQueueInfo(queue string) (*asynq.QueueInfo, error) {
	return &asynq.QueueInfo{Queue: queue, Pending: 7, Timestamp: time.Now()}, nil
}

// If Redis hangs, each scrape takes two seconds, and only one of all scrapes queries Redis.
func TestCollector_ARedisThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeInspector{queried: make(chan struct{}, 100), open: make(chan struct{})}
		c := newCollector(f)
		registry := prometheus.NewRegistry()
		registry.MustRegister(c)
		begun := time.Now()
		var scrapes sync.WaitGroup
		for range 10 {
			scrapes.Go(func() { wantShown(t, registry, map[string]string{"asynq_queue_size": ""}) })
		}
		scrapes.Wait()
		if took := time.Since(begun); took != scrapeWait || len(f.queried) != 1 {
			t.Errorf("10 scrapes took %s and queried %d times, want %s and once",
				took, len(f.queried), scrapeWait)
		}
		close(f.open)
		synctest.Wait()
		wantShown(t, registry, map[string]string{"asynq_tasks_enqueued_total": "events pending=7"})
		time.Sleep(freshFor)
		wantShown(t, registry, map[string]string{"asynq_tasks_enqueued_total": "events pending=7"})
		if len(f.queried) != 2 {
			t.Errorf("queried %d times, want a second time after %s", len(f.queried), freshFor)
		}
		c.Close()
		wantShown(t, registry, map[string]string{"asynq_tasks_enqueued_total": "events pending=7"})
		time.Sleep(staleAfter)
		wantShown(t, registry, map[string]string{"asynq_tasks_enqueued_total": ""})
	})
}
