package backfill_test

import (
	"context"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"cloudidq/internal/backfill"
	"cloudidq/internal/lines"
	"cloudidq/tasks"
)

// tenAhead is a Redis whose clock is ten minutes ahead of the loader's clock.
type tenAhead struct{ redis.UniversalClient }

// Time implements [redis.UniversalClient].
func (c tenAhead) Time(ctx context.Context) *redis.TimeCmd {
	cmd := redis.NewTimeCmd(ctx)
	cmd.SetVal(time.Now().Add(10 * time.Minute))
	return cmd
}

// A machine whose clock is behind accepts a line with a correct obtained_at. Its tasks have the
// acceptance time of Redis's clock.
func TestLoad_ClockIsBehind(t *testing.T) {
	b := newFixture(t)
	producer := tasks.NewClient(tenAhead{b.rdb}, tasks.Options{})
	t.Cleanup(producer.Close)
	b.loader = (&backfill.Loader{Store: backfill.NewStore(b.rdb, time.Hour, nil), Producer: producer,
		Pressure: b}).WithWindow(testWindow)
	right := time.Now().Add(10 * time.Minute).UTC()
	text := `{"cloud_id":"73_1","obtained_at":"` + right.Format(time.RFC3339) + `"}` + "\n"
	if got, err := b.load(b.create(lines.NDJSON), text, backfill.Options{}); err != nil || got.Accepted != 1 {
		t.Fatalf("Load = %+v, %v, want the line to be accepted", got, err)
	}
	for _, p := range b.queued() {
		if p.AcceptedAt.Before(right.Add(-time.Second)) {
			t.Errorf("accepted at %s, want at %s by Redis's clock", p.AcceptedAt, right)
		}
	}
}
