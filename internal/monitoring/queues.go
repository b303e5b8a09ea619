package monitoring

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"time"

	"github.com/hibiken/asynq"

	"cloudidq/tasks"
)

// queuesApart is asynqmon's list of the queues with each of them asked for by itself. asynqmon asks in one go, and a
// single queue that it cannot measure, since a task of it is gone from Redis without a trace (asynq v0.26.0
// internal/rdb/inspect.go: arithmetic on a nil value), takes the page of all away. Such a queue is shown with its counts.
func (p *pages) queuesApart(ctx context.Context) ([]byte, error) {
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

// queue is one entry of the list.
func (p *pages) queue(ctx context.Context, name string) (json.RawMessage, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, Path+"/api/queues/"+url.PathEscape(name), http.NoBody)
	if err != nil {
		return nil, err
	}
	answer := &buffered{ResponseWriter: nowhere{make(http.Header)}}
	p.inner.ServeHTTP(answer, r)
	var whole struct {
		Current json.RawMessage `json:"current"`
	}
	if answer.status <= http.StatusOK && json.Unmarshal(answer.body.Bytes(), &whole) == nil && whole.Current != nil {
		return whole.Current, nil
	}
	s, err := tasks.Look(ctx, p.rdb, name, time.Minute)
	if err != nil {
		return nil, err
	}
	return json.Marshal(map[string]any{ // as asynqmon v0.7.2 conversion_helpers.go:73-108 has it
		"queue": name, "memory_usage_bytes": 0, "groups": 0, "latency_msec": 0, "display_latency": "unknown",
		"size":   s.Pending + s.Active + s.Scheduled + s.Retry + s.Archived,
		"active": s.Active, "pending": s.Pending, "scheduled": s.Scheduled, "retry": s.Retry, "archived": s.Archived,
		"aggregating": 0, "completed": 0, "processed": 0, "succeeded": 0, "failed": 0, "paused": false, "timestamp": time.Now(),
	})
}
