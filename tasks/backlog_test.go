package tasks_test

import (
	"testing"

	"cloudidq/internal/redistest"
	"cloudidq/tasks"
)

// The key is asynq's own: the asynq of go.mod writes it here.
func TestBacklog(t *testing.T) {
	rdb := redistest.Start(t).Client(t)
	client := tasks.NewClient(rdb, tasks.Options{CommitLinger: -1})
	defer client.Close()
	for n := range 3 {
		if got, err := tasks.Backlog(t.Context(), rdb, tasks.QueueEvents); got != n || err != nil {
			t.Errorf("Backlog = %d, %v, want %d", got, err, n)
		}
		if _, err := client.Resolve(t.Context(), tasks.Request{AppID: "wx1", Items: []tasks.Item{{CloudID: "73_1"}}}); err != nil {
			t.Fatal(err)
		}
	}
}
