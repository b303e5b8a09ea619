package queue

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"cloudidq/tasks"
)

// A task archived by a machine with a slow clock sorts before others. If another task leaves at
// the same time, the counts hide the new one, until the whole span is read again.
func TestRedactor_SlowClockOfTheArchivingMachine(t *testing.T) {
	b := newEraserFixture(t)
	archived := stateKey(tasks.QueueEvents, stateArchived)
	r := NewRedactor(b.rdb, &fakeFinisher{}, slog.New(slog.DiscardHandler))
	archive := func(id string, at int64) {
		b.enqueue(id, payloadOf(1, time.Now()))
		if err := b.inspector.ArchiveTask(tasks.QueueEvents, id); err != nil {
			t.Fatal(err)
		}
		one := redis.Z{Score: float64(at), Member: id}
		if err := b.rdb.ZAdd(t.Context(), archived, one).Err(); err != nil {
			t.Fatal(err)
		}
	}
	now := time.Now().Unix()
	for i := range 60 {
		archive(fmt.Sprint("task-", i), now-int64(i))
	}
	r.Pass(t.Context())
	archive("slow", now-50)
	if err := b.rdb.ZRem(t.Context(), archived, "task-20").Err(); err != nil {
		t.Fatal(err)
	}
	r.Pass(t.Context())
	if !strings.Contains(string(b.message("slow")), "73_") {
		t.Fatal("the counts show the new task: nothing is proved")
	}
	r.archives[tasks.QueueEvents].fullAt = time.Now()
	r.Pass(t.Context())
	if message := string(b.message("slow")); !strings.Contains(message, redactedMark) {
		t.Errorf("the task of a slow clock holds %s", message)
	}
}
