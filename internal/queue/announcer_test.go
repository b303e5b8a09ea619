package queue

import (
	"context"
	"log/slog"
	"slices"
	"testing"

	"github.com/hibiken/asynq"
	"github.com/prometheus/client_golang/prometheus"

	"cloudidq/internal/redistest"
	"cloudidq/tasks"
)

// If the set of queue names is lost, the gauges still count the tasks, and a worker adds the
// names again. Deleting a queue at a dashboard removes its name, and a running producer does
// not add it again.
func TestQueues_TheirNamesAreLost(t *testing.T) {
	t.Parallel()
	srv := redistest.Start(t)
	rdb := srv.Client(t)
	client := asynq.NewClientFromRedisClient(rdb)
	enqueue := func() {
		t.Helper()
		_, err := client.EnqueueContext(
			t.Context(), asynq.NewTask("x", nil), asynq.Queue(tasks.QueueBackfill))
		if err != nil {
			t.Fatal(err)
		}
	}
	enqueue()
	if err := rdb.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	enqueue()
	enqueue()

	c := NewCollector(srv.Client(t))
	defer c.Close()
	registry := prometheus.NewRegistry()
	registry.MustRegister(c)
	await(t, "the collector's first numbers", func() bool { // a scrape does not wait long for Redis
		return shown(t, registry, "asynq_queue_size") == "backfill=2"
	})
	wantShown(t, registry, map[string]string{
		"asynq_queue_size": "backfill=2", "asynq_tasks_enqueued_total": "backfill pending=2",
	})
	info, err := Count(t.Context(), rdb, tasks.QueueBackfill)
	if err != nil || info.Pending != 2 || info.Size != 2 || info.Latency <= 0 {
		t.Errorf("Count() = %+v, %v, want two that wait", info, err)
	}

	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		NewAnnouncer(rdb, WithCloudIDs(), slog.New(slog.DiscardHandler)).Run(ctx)
	}()
	inspector := asynq.NewInspectorFromRedisClient(rdb)
	for range 2 { // at the start, and after the names are lost again
		await(t, "the queues to be named", func() bool {
			known, err := inspector.Queues()
			return err == nil && slices.Contains(known, tasks.QueueBackfill)
		})
		rdb.Del(t.Context(), queuesKey)
	}
	stop()
	<-done
}
