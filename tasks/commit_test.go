package tasks

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hibiken/asynq"
)

// fakeQueue accepts tasks after a delay, as Redis would, and returns the error of fail.
type fakeQueue struct {
	delay time.Duration
	fail  func(ResolvePayload) error

	mu       sync.Mutex
	payloads []ResolvePayload
}

func (q *fakeQueue) EnqueueContext(_ context.Context, task *asynq.Task, _ ...asynq.Option) (*asynq.TaskInfo, error) {
	time.Sleep(q.delay)
	p, err := ParseResolve(task.Payload())
	if err != nil {
		return nil, err
	}
	if q.fail != nil {
		if err := q.fail(p); err != nil {
			return nil, err
		}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.payloads = append(q.payloads, p)
	return &asynq.TaskInfo{}, nil
}

func one(app string, n int) Request {
	return Request{AppID: app, Items: []Item{{CloudID: fmt.Sprintf("73_%04d", n), OpenID: fmt.Sprintf("o%d", n)}}}
}

// Concurrent calls share one task, and all of them succeed.
func TestResolve_ConcurrentCallsShareATask(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := &fakeQueue{delay: time.Millisecond}
		c := newClient(q, Options{})
		var wg sync.WaitGroup
		for i := range 50 {
			wg.Go(func() {
				if _, err := c.Resolve(t.Context(), one("wx1", i)); err != nil {
					t.Errorf("Resolve() = %v", err)
				}
			})
		}
		wg.Wait()
		if len(q.payloads) != 1 || len(q.payloads[0].Items) != 50 {
			t.Errorf("got %d tasks, want one with 50 cloudIDs", len(q.payloads))
		}
	})
}

// A call returns only after the write has finished.
func TestResolve_AnsweredOnlyAfterTheWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := &fakeQueue{delay: 30 * time.Millisecond}
		c := newClient(q, Options{CommitLinger: 2 * time.Millisecond})
		begun := time.Now()
		if _, err := c.Resolve(t.Context(), one("wx1", 1)); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begun); took != 32*time.Millisecond {
			t.Errorf("answered after %s, want linger + write = 32ms", took)
		}
	})
}

// A full task is written at once, without waiting for the linger.
func TestResolve_FullTaskLeavesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := &fakeQueue{}
		c := newClient(q, Options{CommitLinger: time.Hour})
		var wg sync.WaitGroup
		for i := range MaxItems {
			wg.Go(func() { _, _ = c.Resolve(t.Context(), one("wx1", i)) })
		}
		wg.Wait()
		if len(q.payloads) != 1 {
			t.Errorf("got %d tasks, want 1", len(q.payloads))
		}
	})
}

// A failed write fails the calls that share its task, and no other call.
func TestResolve_FailedWriteFailsExactlyItsCallers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("connection refused")
		q := &fakeQueue{fail: func(p ResolvePayload) error {
			if p.AppID == "wxbad" {
				return broken
			}
			return nil
		}}
		c := newClient(q, Options{})
		var wg sync.WaitGroup
		for i := range 60 {
			app := "wxgood"
			if i%2 == 0 {
				app = "wxbad"
			}
			wg.Go(func() {
				_, err := c.Resolve(t.Context(), one(app, i))
				if got := errors.Is(err, broken); got != (app == "wxbad") {
					t.Errorf("Resolve(%s) = %v", app, err)
				}
			})
		}
		wg.Wait()
	})
}

// The items of one call never spread over two tasks.
func TestResolve_ACallIsNeverSplit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := &fakeQueue{}
		c := newClient(q, Options{})
		var wg sync.WaitGroup
		for call := range 4 {
			req := Request{AppID: "wx1"}
			for i := range 60 {
				req.Items = append(req.Items, Item{CloudID: fmt.Sprintf("73_%d_%d", call, i)})
			}
			wg.Go(func() { _, _ = c.Resolve(t.Context(), req) })
		}
		wg.Wait()
		if len(q.payloads) != 4 {
			t.Errorf("got %d tasks, want 4: two calls of 60 do not fit into 100", len(q.payloads))
		}
	})
}

// Two calls with the same cloudID get two tasks.
func TestResolve_SameCloudIDOfTwoCalls_TwoTasks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := &fakeQueue{}
		c := newClient(q, Options{})
		var wg sync.WaitGroup
		for _, openID := range []string{"oA", "oB"} {
			wg.Go(func() {
				req := Request{AppID: "wx1", Items: []Item{{CloudID: "73_x", OpenID: openID}}}
				if _, err := c.Resolve(t.Context(), req); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if len(q.payloads) != 2 {
			t.Errorf("got %d tasks, want 2", len(q.payloads))
		}
	})
}

// A canceled call returns alone; the other calls of its task succeed.
func TestResolve_CancelledCallerLeavesAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := &fakeQueue{delay: time.Second}
		c := newClient(q, Options{})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := c.Resolve(ctx, one("wx1", 1)); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Resolve() = %v, want the error of its context", err)
			}
		})
		wg.Go(func() {
			if _, err := c.Resolve(t.Context(), one("wx1", 2)); err != nil {
				t.Errorf("the other call: %v", err)
			}
		})
		wg.Wait()
		c.Close()
	})
}

// Close writes the open commits.
func TestClose_WritesWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := &fakeQueue{delay: time.Millisecond}
		c := newClient(q, Options{CommitLinger: time.Hour})
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := c.Resolve(t.Context(), one("wx1", 1)); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		c.Close()
		wg.Wait()
		if len(q.payloads) != 1 {
			t.Errorf("got %d tasks, want 1", len(q.payloads))
		}
		if _, err := c.Resolve(t.Context(), one("wx1", 2)); !errors.Is(err, ErrClosed) {
			t.Errorf("Resolve() after Close = %v, want ErrClosed", err)
		}
	})
}

// A conflict with the client's own task id counts as success.
func TestWrite_ConflictOfOurOwnIDIsSuccess(t *testing.T) {
	q := &fakeQueue{fail: func(ResolvePayload) error { return fmt.Errorf("x: %w", asynq.ErrTaskIDConflict) }}
	c := newClient(q, Options{CommitLinger: -1})
	if _, err := c.Resolve(t.Context(), one("wx1", 1)); err != nil {
		t.Errorf("Resolve() = %v, want nil: the first of two writes has arrived", err)
	}
}
