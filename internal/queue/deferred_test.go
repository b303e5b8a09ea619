package queue

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"
)

// A deferred redaction waits until the task is back in its queue. The redaction of a task that is
// gone is forgotten.
func TestRedactor_DefersUntilTheTaskIsBack(t *testing.T) {
	b := newEraserFixture(t)
	b.enqueue("in-flight", mixed("flight", 5, time.Now()))
	r := NewRedactor(b.rdb, &fakeFinisher{}, slog.New(slog.DiscardHandler))
	b.serve(1, func(ctx context.Context, _ *asynq.Task) error {
		r.Defer("events", "in-flight", map[string]bool{
			"73_PLANTED_flight_0": true, "73_PLANTED_flight_2": true, "73_PLANTED_flight_4": true,
		})
		if err := r.redactDeferred(ctx); err != nil {
			t.Error(err)
		}
		if !strings.Contains(string(b.message("in-flight")), "PLANTED") || len(r.deferred) != 1 {
			t.Error("the task was rewritten while a worker had it")
		}
		return errors.New("again")
	})
	before := b.tasks()["in-flight"]
	if before == nil || before.State != asynq.TaskStateRetry {
		t.Fatalf("task = %+v, want it back: nothing is proved", before)
	}
	r.Defer("events", "gone", map[string]bool{"73_1": true})
	if err := r.redactDeferred(t.Context()); err != nil {
		t.Fatal(err)
	}
	checkOthers(t, "in-flight", before.Payload, b.tasks()["in-flight"].Payload)
	if len(r.deferred) != 0 {
		t.Errorf("%d redactions are still deferred", len(r.deferred))
	}
}
