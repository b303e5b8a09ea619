package tasks

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"cloudidq/internal/redistest"
)

// wrong is how far the clocks in these tests are wrong.
const wrong = 10 * time.Minute

// fakeClock is a Redis server with its own clock.
type fakeClock struct {
	ahead time.Duration
	delay time.Duration // one-way delay of request and answer
	fail  error
	reads atomic.Int64
}

// Time implements asker.
func (f *fakeClock) Time(ctx context.Context) *redis.TimeCmd {
	f.reads.Add(1)
	cmd := redis.NewTimeCmd(ctx)
	time.Sleep(f.delay)
	if f.fail != nil {
		cmd.SetErr(f.fail)
		return cmd
	}
	cmd.SetVal(time.Now().Add(f.ahead))
	time.Sleep(f.delay)
	return cmd
}

func clientBy(clock *fakeClock, linger time.Duration) (*Client, *fakeQueue) {
	q := &fakeQueue{}
	c := newClient(q, Options{CommitLinger: linger})
	c.accepted.clock = &Clock{rdb: clock, now: time.Now}
	return c, q
}

// Any number of calls read Redis's clock once in 30 seconds, and even the first calls use its
// time.
func TestResolve_RequestsTheClockOncePerHalfMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock := &fakeClock{ahead: wrong, delay: 20 * time.Millisecond}
		c, q := clientBy(clock, time.Millisecond)
		for round := range 29 {
			var wg sync.WaitGroup
			for i := range 40 {
				wg.Go(func() {
					begun := time.Now()
					got, err := c.Resolve(t.Context(), one("wx1", 40*round+i))
					if off := got.AcceptedAt.Sub(begun.Add(wrong)); err != nil || off < 0 || off > time.Second {
						t.Errorf("accepted %s beside Redis's clock, %v", off, err)
					}
				})
			}
			wg.Wait()
			time.Sleep(time.Second)
		}
		if n := clock.reads.Load(); n != 1 {
			t.Errorf("the clock of Redis was read %d times in 29 s, want once", n)
		}
		time.Sleep(2 * time.Second)
		for i := range 40 {
			if _, err := c.Resolve(t.Context(), one("wx1", i)); err != nil {
				t.Error(err)
			}
		}
		if n := clock.reads.Load(); n != 2 {
			t.Errorf("the clock of Redis was read %d times in 31 s, want twice", n)
		}
		for _, p := range q.payloads {
			if off := time.Until(p.AcceptedAt); off < wrong-time.Minute || !p.Items[0].ObtainedAt.Equal(p.AcceptedAt) {
				t.Errorf("a task says accepted %s from now, obtained at %s", off, p.Items[0].ObtainedAt)
			}
		}
	})
}

// If Redis does not answer, the last measurement applies, or this machine's clock if there is
// none. The client reads it again a second later.
func TestClientNow_RedisDoesNotSay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock := &fakeClock{ahead: wrong, fail: errors.New("connection refused")}
		c, _ := clientBy(clock, -1)
		for _, step := range []struct {
			say   string
			fail  error
			slow  time.Duration
			wait  time.Duration
			want  time.Duration
			reads int64
		}{
			{"never measured", errors.New("refused"), 0, 0, 0, 1},
			{"within a second", nil, 0, 0, 0, 1},
			{"a second later", nil, 0, time.Second, wrong, 2},
			{"refused again", errors.New("refused"), 0, 30 * time.Second, wrong, 3},
			{"too slow an answer", nil, 1500 * time.Millisecond, time.Second, wrong, 4},
		} {
			time.Sleep(step.wait)
			clock.fail, clock.delay = step.fail, step.slow
			if step.slow > 0 {
				clock.ahead = 2 * wrong
			}
			now, err := c.Now(t.Context())
			if got := now.Sub(time.Now().Truncate(time.Millisecond)); err != nil || got != step.want {
				t.Errorf("%s: %s ahead, %v, want %s", step.say, got, err, step.want)
			}
			if n := clock.reads.Load(); n != step.reads {
				t.Errorf("%s: %d reads, want %d", step.say, n, step.reads)
			}
		}
	})
}

// A difference of less than a second counts as zero.
func TestClientNow_NearIsNone(t *testing.T) {
	for ahead, want := range map[time.Duration]time.Duration{
		999 * time.Millisecond: 0, -999 * time.Millisecond: 0, time.Second: time.Second, -time.Second: -time.Second,
	} {
		synctest.Test(t, func(t *testing.T) {
			c, _ := clientBy(&fakeClock{ahead: ahead, delay: 100 * time.Millisecond}, -1)
			now, err := c.Now(t.Context())
			if got := time.Until(now); err != nil || got != want {
				t.Errorf("Redis is %s ahead: Now is %s ahead, %v, want %s", ahead, got, err, want)
			}
		})
	}
}

// A call that waits for Redis's clock returns when its context ends, and Close leaves no
// goroutine running.
func TestResolve_ClockHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, q := clientBy(&fakeClock{delay: time.Hour}, -1)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		if _, err := c.Resolve(ctx, one("wx1", 1)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Resolve() = %v, want the error of its context", err)
		}
		c.Close()
		if len(q.payloads) != 0 {
			t.Errorf("%d tasks were written for a call that has failed", len(q.payloads))
		}
		if _, err := c.Resolve(t.Context(), one("wx1", 2)); !errors.Is(err, ErrClosed) {
			t.Errorf("Resolve() after Close = %v, want ErrClosed", err)
		}
	})
}

// Every way to enqueue sets the acceptance time by Redis's clock, even if the producer's clock
// is wrong.
func TestClient_AcceptsByRedisClock(t *testing.T) {
	for name, off := range map[string]time.Duration{"Ahead": wrong, "Behind": -wrong} {
		t.Run(name, func(t *testing.T) {
			rdb := redistest.Start(t).Client(t)
			c := clientOff(t, rdb, off)
			ways := map[string]func() error{
				"Resolve":    func() error { _, err := c.Resolve(t.Context(), one("wx1", 1)); return err },
				"ResolveAll": func() error { _, err := c.ResolveAll(t.Context(), one("wx1", 2)); return err },
				"WriteChunk": func() error {
					return c.WriteChunk(t.Context(), Chunk{Backfill: "bf_x", AppID: "wx1", Items: []Item{{CloudID: "73_3"}}})
				},
			}
			for way, write := range ways {
				before := redisTime(t, rdb)
				if err := write(); err != nil {
					t.Fatal(err)
				}
				after, p := redisTime(t, rdb), taken(t, rdb)
				// The measurement is off by at most a second; otherwise it is discarded.
				if p.AcceptedAt.Before(before.Add(-2*time.Second)) || p.AcceptedAt.After(after.Add(2*time.Second)) {
					t.Errorf("%s: accepted at %s, want between %s and %s", way, p.AcceptedAt, before, after)
				}
			}
		})
	}
}

// obtained_at is also compared with Redis's clock. A machine whose clock is behind rejects no
// valid time, and a machine whose clock is ahead accepts no time in the future.
func TestResolve_ObtainedAt_ByRedisClock(t *testing.T) {
	for name, tt := range map[string]struct{ off, obtained time.Duration }{
		"Behind": {-wrong, 0}, "Behind_Future": {-wrong, wrong / 2}, "Ahead": {wrong, 0}, "Ahead_Future": {wrong, wrong / 2},
	} {
		t.Run(name, func(t *testing.T) {
			rdb := redistest.Start(t).Client(t)
			c := clientOff(t, rdb, tt.off)
			req := one("wx1", 1)
			req.Items[0].ObtainedAt = redisTime(t, rdb).Add(tt.obtained)
			for way, call := range map[string]func(context.Context, Request) (Receipt, error){"Resolve": c.Resolve, "ResolveAll": c.ResolveAll} {
				_, err := call(t.Context(), req)
				if _, refused := errors.AsType[*InvalidError](err); refused != (tt.obtained > 0) || err != nil && !refused {
					t.Errorf("%s of a cloudID from %s after now: %v", way, tt.obtained, err)
				}
			}
		})
	}
}

// ParseResolve compares no time with the reader's clock. Therefore a worker whose clock is
// behind can read every payload, and so can a worker with a correct clock if the front end's
// clock is wrong.
func TestParseResolve_NoMomentIsJudged(t *testing.T) {
	for name, accepted := range map[string]string{"Accepted": `"accepted_at":"2026-11-22T08:00:00Z",`, "SaysNothing": ""} {
		_, err := ParseResolve([]byte(`{"v":1,"appid":"wx1",` + accepted + `"items":[{"cloud_id":"73_1","obtained_at":"2999-01-01T00:00:00Z"}]}`))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// clientOff returns a client on a machine whose clock is wrong. The client has already measured
// Redis's clock.
func clientOff(t *testing.T, rdb *redis.Client, off time.Duration) *Client {
	t.Helper()
	c := NewClient(rdb, Options{CommitLinger: -1})
	t.Cleanup(c.Close)
	c.accepted.clock.now = func() time.Time { return time.Now().Add(off) }
	for c.accepted.clock.Ahead() == 0 { // a measurement that takes two seconds is discarded
		if _, err := c.Now(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func redisTime(t *testing.T, rdb *redis.Client) time.Time {
	t.Helper()
	now, err := rdb.Time(t.Context()).Result()
	if err != nil {
		t.Fatal(err)
	}
	return now
}

// taken returns the payload of the only pending task, and deletes the task.
func taken(t *testing.T, rdb *redis.Client) ResolvePayload {
	t.Helper()
	queues := asynq.NewInspectorFromRedisClient(rdb)
	for _, queue := range []string{QueueEvents, QueueBackfill} {
		infos, _ := queues.ListPendingTasks(queue) // an error if the queue never had a task
		if len(infos) != 1 {
			continue
		}
		p, err := ParseResolve(infos[0].Payload)
		if err := errors.Join(err, queues.DeleteTask(queue, infos[0].ID)); err != nil {
			t.Fatal(err)
		}
		return p
	}
	t.Fatal("no queue has one task")
	return ResolvePayload{}
}
