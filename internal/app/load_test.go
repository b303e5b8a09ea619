package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"cloudidq/internal/backfill"
	"cloudidq/internal/coord"
	"cloudidq/internal/lines"
	"cloudidq/internal/redistest"
	"cloudidq/tasks"
)

const loadApp = "wx0000000000000001"

// loadFile loads n lines into a queue that is full with five tasks. It returns the number of
// tasks in the queue when the loader first has to wait, and why it waits.
func loadFile(t *testing.T, rdb *redis.Client, n int) (tasksIn int64, why error) {
	t.Helper()
	producer := tasks.NewClient(rdb, tasks.Options{})
	defer producer.Close()
	backfills := backfill.NewStore(rdb, time.Hour, nil)
	loader := &backfill.Loader{Store: backfills, Producer: producer, Pressure: NewQueueLoad(rdb, 5, slog.New(slog.DiscardHandler))}
	at, err := backfills.Create(t.Context(), backfill.Backfill{ID: backfill.NewID(), AppID: loadApp, Format: string(lines.NDJSON)})
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for i := range n {
		fmt.Fprintf(&text, `{"cloud_id":"73_%d"}`+"\n", i)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	_, err = loader.Load(ctx, at, lines.New(strings.NewReader(text.String()), lines.NDJSON), backfill.Options{
		Full: func(err error) { why = err; stop() },
	})
	if err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	return rdb.LLen(t.Context(), "asynq:{backfill}:pending").Val(), why
}

// The backlog includes retried tasks, such as those of a paused app, which are hardly ever
// pending. The loader of a paused app waits and leaves the lines in the file.
func TestQueueLoad_CountsRetriesAndPauses(t *testing.T) {
	rdb := redistest.Start(t).Client(t)
	if in, why := loadFile(t, rdb, 300); why != nil || in != 3 {
		t.Fatalf("%v, %d tasks, want 3: without a limit", why, in)
	}
	rdb.Del(t.Context(), "asynq:{backfill}:pending")
	for i := range 5 {
		rdb.ZAdd(t.Context(), "asynq:{backfill}:retry", redis.Z{Score: 1, Member: fmt.Sprint("task-", i)})
	}
	if !NewQueueLoad(rdb, 5, slog.New(slog.DiscardHandler)).High(t.Context(), tasks.QueueBackfill) {
		t.Error("High() = false with 5 of 5 tasks in retry")
	}
	if in, why := loadFile(t, rdb, 300); !errors.Is(why, backfill.ErrFull) || in != 0 {
		t.Errorf("waits because of %v with %d tasks enqueued, want ErrFull with none", why, in)
	}
	rdb.Del(t.Context(), "asynq:{backfill}:retry")
	_, err := coord.NewPauses(rdb).Set(t.Context(), loadApp, 45009, "quota", func(int) time.Time { return time.Now().Add(time.Hour) })
	if err != nil {
		t.Fatal(err)
	}
	if in, why := loadFile(t, rdb, 300); !errors.Is(why, backfill.ErrPaused) || in != 0 {
		t.Errorf("waits because of %v with %d tasks enqueued, want ErrPaused with none", why, in)
	}
}

// However fast a backfill loads, it exceeds the limit by at most one window.
func TestQueueLoad_LimitsBackfillToOneWindow(t *testing.T) {
	rdb := redistest.Start(t).Client(t)
	const window = 41 // tasks
	if in, why := loadFile(t, rdb, 40_000); !errors.Is(why, backfill.ErrFull) || in > window {
		t.Errorf("waits because of %v with %d tasks enqueued, want ErrFull with at most %d", why,
			in, window)
	}
}
