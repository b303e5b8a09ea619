package monitoring

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"time"

	"github.com/hibiken/asynq"

	"cloudidq/internal/queue"
)

// listQueuesSeparately returns asynqmon's list of queues, but reads each queue separately. asynqmon
// reads all queues at once. If a task has vanished from Redis, asynqmon cannot measure its queue
// (asynq v0.26.0 internal/rdb/inspect.go: arithmetic on a nil value), and the whole page fails.
// listQueuesSeparately shows such a queue with its counts only.
func (p *pages) listQueuesSeparately(ctx context.Context) ([]byte, error) {
	names, err := asynq.NewInspectorFromRedisClient(p.rdb).Queues()
	if err != nil {
		return nil, err
	}
	list := make([]json.RawMessage, 0, len(names))
	for _, name := range names {
		queue, err := p.queue(ctx, name)
		if err != nil {
			return nil, err
		}
		list = append(list, queue)
	}
	return json.Marshal(map[string]any{"queues": list})
}

// queue returns one entry of the list.
func (p *pages) queue(ctx context.Context, name string) (json.RawMessage, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, Path+"/api/queues/"+url.PathEscape(name), http.NoBody)
	if err != nil {
		return nil, err
	}
	answer := &buffered{ResponseWriter: discardWriter{make(http.Header)}}
	p.inner.ServeHTTP(answer, r)
	var whole struct {
		Current json.RawMessage `json:"current"`
	}
	// Use asynqmon's entry if it can read the queue. Otherwise, count the tasks.
	if answer.status <= http.StatusOK && json.Unmarshal(answer.body.Bytes(), &whole) == nil && whole.Current != nil {
		return whole.Current, nil
	}
	s, err := queue.TakeSnapshot(ctx, p.rdb, name, time.Minute)
	if err != nil {
		return nil, err
	}
	return json.Marshal(map[string]any{ // fields as in asynqmon v0.7.2 conversion_helpers.go:73-108
		"queue": name, "memory_usage_bytes": 0, "groups": 0, "latency_msec": 0, "display_latency": "unknown",
		"size":   s.Pending + s.Active + s.Scheduled + s.Retry + s.Archived,
		"active": s.Active, "pending": s.Pending, "scheduled": s.Scheduled, "retry": s.Retry, "archived": s.Archived,
		"aggregating": 0, "completed": 0, "processed": 0, "succeeded": 0, "failed": 0, "paused": false, "timestamp": time.Now(),
	})
}
