package tasks_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"

	"cloudidq/internal/redistest"
	"cloudidq/tasks"
)

// A chunk becomes one task with the chunk's id, and a second write of the chunk has no effect.
func TestWriteChunk(t *testing.T) {
	rdb := redistest.Start(t).Client(t)
	c := tasks.NewClient(rdb, tasks.Options{})
	defer c.Close()
	chunk := tasks.Chunk{
		Backfill: "bf_x", Number: 7, AppID: "wx1", Webhook: "orders",
		// A repeated item stays in the chunk, because every line of a backfill is counted.
		Items: []tasks.Item{{CloudID: "73_1", OpenID: "o1"}, {CloudID: "73_2"}, {CloudID: "73_1", OpenID: "o1"}},
	}
	for range 2 { // the second write has no effect
		if err := c.WriteChunk(t.Context(), chunk); err != nil {
			t.Fatal(err)
		}
	}
	infos, err := asynq.NewInspectorFromRedisClient(rdb).ListPendingTasks(tasks.QueueBackfill)
	if err != nil || len(infos) != 1 || infos[0].ID != "bf_x_7" {
		t.Fatalf("queue = %+v, %v, want one task", infos, err)
	}
	p, err := tasks.ParseResolve(infos[0].Payload)
	if err != nil || p.Backfill != "bf_x" || p.AppID != "wx1" || p.Webhook != "orders" || p.AcceptedAt.IsZero() {
		t.Errorf("payload = %+v, %v", p, err)
	}
	if diff := cmp.Diff(chunk.Items, p.Items); diff != "" {
		t.Errorf("items (-want +got):\n%s", diff)
	}
	chunk.Items[1].CloudID = ""
	chunk.Number++
	if invalid, ok := errors.AsType[*tasks.InvalidError](c.WriteChunk(t.Context(), chunk)); !ok || invalid.Faults[0].Field != "items[1].cloud_id" {
		t.Errorf("WriteChunk of a bad item = %v", invalid)
	}
}

func TestChunkTaskID(t *testing.T) {
	for _, number := range []int{0, 7, 123_456_789} {
		backfill, got, ok := tasks.ParseChunkTaskID(tasks.ChunkTaskID("bf_a_b", number))
		if backfill != "bf_a_b" || got != number || !ok {
			t.Errorf("ParseChunkTaskID = %q, %d, %v, want bf_a_b, %d", backfill, got, ok, number)
		}
	}
	for _, id := range []string{"", "bf_x", "bf_x_", "bf_x_-1", "bf_x_01", "bf_x_1a", "_7", strings.Repeat("b", 65) + "_1", "bf_x_1234567890", "7e1a9c0e-3b1f-4b8e-9d3c-0f7a1b2c3d4e"} {
		if _, _, ok := tasks.ParseChunkTaskID(id); ok {
			t.Errorf("ParseChunkTaskID(%q) takes it for a chunk's", id)
		}
	}
}

func TestItemValidate(t *testing.T) {
	now := time.Now()
	it := tasks.Item{CloudID: "73_1", ObtainedAt: now.Add(2 * time.Minute)}
	if err := it.Validate(now.Add(time.Minute)); err != nil {
		t.Errorf("Validate = %v, want nil a minute before", err)
	}
	it.CloudID = ""
	want := "cloud_id is empty; obtained_at is more than 1m0s in the future"
	if err := it.Validate(now); fmt.Sprint(err) != want {
		t.Errorf("Validate = %v, want %s", err, want)
	}
}
