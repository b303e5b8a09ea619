package backfill_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"cloudidq/internal/backfill"
	"cloudidq/internal/lines"
	"cloudidq/tasks"
)

// dying is a Redis hook that fails every command from a certain one on. The first of
// these is either not sent, or sent with its answer lost. The error of the hook is one
// that a load does not retry.
type dying struct {
	left   atomic.Int64 // commands until the first failure
	answer bool         // the first failed command is executed
}

var errDead = fmt.Errorf("dead: %w", backfill.ErrTaken)

func (d *dying) run(send func() error) error {
	switch left := d.left.Add(-1); {
	case left > 0:
		return send()
	case left == 0 && d.answer:
		_ = send()
	}
	return errDead
}

func (d *dying) DialHook(next redis.DialHook) redis.DialHook { return next }

func (d *dying) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := d.run(func() error { return next(ctx, cmd) })
		cmd.SetErr(err)
		return err
	}
}

func (d *dying) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// A load may die before or after any command, and the next load continues it. In the end, each
// good line is queued exactly once. In the second half, a worker processes the queued tasks
// between the crash and the next load, and no task ever runs twice.
func TestLoad_DiesAtEveryCommand(t *testing.T) {
	b := newBed(t)
	text, good := file(33)
	for _, works := range []bool{false, true} {
		for _, answer := range []bool{false, true} {
			for n := int64(1); ; n++ {
				b.flush()
				at := b.create(lines.NDJSON)
				rdb := redis.NewClient(&redis.Options{Addr: b.redis.Addr})
				hook := &dying{answer: answer}
				hook.left.Store(n)
				rdb.AddHook(hook)
				_, err := b.over(rdb).Load(t.Context(), at, lines.New(strings.NewReader(text), lines.NDJSON), backfill.Options{})
				_ = rdb.Close()
				survived := err == nil
				if !survived && !errors.Is(err, backfill.ErrTaken) {
					t.Fatalf("death %d: Load = %v", n, err)
				}

				ran := map[string]int{}
				if works {
					b.work(at.Backfill.ID, ran)
				}
				before := b.queued()
				got, err := b.load(b.resume(at.Backfill.ID), text, backfill.Options{})
				if err != nil || got.Accepted != len(good) || got.Rejected != 5 || got.Lines != 33 {
					t.Fatalf("death %d: Load = %+v, %v", n, got, err)
				}
				queued := b.queued()
				for id := range before {
					if _, there := queued[id]; !there {
						t.Errorf("death %d: task %s has gone", n, id)
					}
				}
				if works {
					b.work(at.Backfill.ID, ran)
					for id, times := range ran {
						if times != 1 {
							t.Errorf("death %d: task %s ran %d times", n, id, times)
						}
					}
					if got, err = b.backfills.Get(t.Context(), got.ID); err != nil || got.Resolved != len(good) || !got.Finished() {
						t.Errorf("death %d: %+v, %v, want all resolved", n, got, err)
					}
				} else if diff := cmp.Diff(good, references(queued)); diff != "" {
					t.Errorf("death %d: lines that are queued (-want +got):\n%s", n, diff)
				}
				if t.Failed() {
					return
				}
				if survived {
					t.Logf("a worker between: %v, the last answer lost: %v, %d deaths", works, answer, n-1)
					break
				}
			}
		}
	}
}

// flush empties Redis, and restores the key that producers write only once.
func (b *bed) flush() {
	b.Helper()
	flush(b, b.rdb)
	if err := b.rdb.SAdd(b.Context(), "asynq:queues", tasks.QueueBackfill).Err(); err != nil {
		b.Fatal(err)
	}
}

// work removes all tasks from the queue, as a worker would, and counts their lines as resolved.
func (b *bed) work(id string, ran map[string]int) {
	b.Helper()
	inspector := asynq.NewInspectorFromRedisClient(b.rdb)
	for task, p := range b.queued() {
		of, chunk, ok := tasks.ParseChunkTaskID(task)
		if !ok || of != id {
			b.Fatalf("task %s", task)
		}
		if err := b.backfills.Report(b.Context(), id, chunk, backfill.Counts{Resolved: len(p.Items)}); err != nil {
			b.Fatal(err)
		}
		if err := inspector.DeleteTask(tasks.QueueBackfill, task); err != nil {
			b.Fatal(err)
		}
		ran[task]++
	}
}

// flaky loses every eleventh answer, as a network may. The command itself is executed.
type flaky struct {
	dying
	n atomic.Int64
}

func (f *flaky) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if err == nil && f.n.Add(1)%11 == 0 {
			err = &net.OpError{Op: "read", Err: errors.New("connection reset")}
			cmd.SetErr(err)
		}
		return err
	}
}

// If Redis executes a command and its answer is lost, the load repeats the step. No line is
// lost or queued twice.
func TestLoad_LostAnswers(t *testing.T) {
	b := newBed(t)
	text, good := file(60)
	rdb := redis.NewClient(&redis.Options{Addr: b.redis.Addr})
	defer func() { _ = rdb.Close() }()
	rdb.AddHook(&flaky{})
	got, err := b.over(rdb).Load(t.Context(), b.create(lines.NDJSON), lines.New(strings.NewReader(text), lines.NDJSON), backfill.Options{})
	if err != nil || got.Accepted != len(good) {
		t.Fatalf("Load = %+v, %v", got, err)
	}
	if diff := cmp.Diff(good, references(b.queued())); diff != "" {
		t.Errorf("lines that are queued (-want +got):\n%s", diff)
	}
}

// If Redis restarts during a load, the load waits and continues.
func TestLoad_RedisRestarts(t *testing.T) {
	b := newBed(t, "--appendonly", "yes", "--appendfsync", "always")
	text, good := file(60)
	restarted := make(chan struct{})
	got, err := b.load(b.create(lines.NDJSON), text, backfill.Options{Progress: func(bf backfill.Backfill) {
		if bf.Lines == 20 {
			b.redis.Kill()
			time.AfterFunc(200*time.Millisecond, func() { b.redis.Restart(); close(restarted) })
		}
	}})
	<-restarted
	if err != nil || got.Accepted != len(good) {
		t.Fatalf("Load = %+v, %v", got, err)
	}
	if diff := cmp.Diff(good, references(b.queued())); diff != "" {
		t.Errorf("lines that are queued (-want +got):\n%s", diff)
	}
}

// If two clients load one backfill at the same time, one of them gets ErrBackfillTaken. No line
// is queued twice.
func TestLoad_TwoAtOnce(t *testing.T) {
	b := newBed(t)
	text, good := file(400)
	at := b.create(lines.NDJSON)
	ended := make(chan error, 1)
	begun := make(chan struct{})
	go func() {
		first := true
		_, err := b.loader.Load(t.Context(), at, lines.New(strings.NewReader(text), lines.NDJSON), backfill.Options{Progress: func(backfill.Backfill) {
			if first {
				first = false
				close(begun)
			}
		}})
		ended <- err
	}()
	<-begun
	got, err := b.load(b.resume(at.Backfill.ID), text, backfill.Options{})
	if err != nil || got.Accepted != len(good) {
		t.Errorf("Load of the second = %+v, %v", got, err)
	}
	if err := <-ended; !errors.Is(err, backfill.ErrTaken) {
		t.Errorf("Load of the first = %v, want ErrBackfillTaken", err)
	}
	if diff := cmp.Diff(good, references(b.queued())); diff != "" {
		t.Errorf("lines that are queued (-want +got):\n%s", diff)
	}
}

// If the input has changed, the error names the lines of the change, and none of it is queued.
func TestLoad_ChangedInput(t *testing.T) {
	b := newBed(t)
	text, _ := file(60)
	edit := func(line int, to string) string {
		all := strings.SplitAfter(text, "\n")
		all[line-1] = to
		return strings.Join(all, "")
	}
	for name, tc := range map[string]struct {
		begun bool // the first load died after it began lines 31 to 40 and before it committed them
		text  string
		want  string
	}{
		"FirstLine":   {false, edit(1, "{}\n"), "among lines 1 to 10 "},
		"ABlankLine":  {false, edit(6, " \n"), "among lines 1 to 10 "},
		"LaterLine":   {false, edit(30, "{}\n"), "among lines 21 to 30 "},
		"OneLineMore": {false, edit(12, "{}\n{}\n"), "among lines 11 to 20 "},
		"OneLess":     {false, edit(12, ""), "among lines 11 to 20 "},
		"Shorter":     {false, text[:strings.Index(text, "line 00026")], "line 27, which was read before, is not there"},
		"Empty":       {false, "", "line 1, which was read before, is not there"},
		"NotIn":       {false, edit(31, "{}\n"), ""}, // no earlier load has read the line
		"Begun":       {true, edit(31, "{}\n"), "among lines 31 to 40 "},
		"BegunShort":  {true, text[:strings.Index(text, "line 00035")] + `"}`, "line 36, which was read before, is not there"},
		"BegunSame":   {true, strings.ReplaceAll(text, "\n", "\r\n"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			b.flush()
			at := b.create(lines.NDJSON)
			rdb := redis.NewClient(&redis.Options{Addr: b.redis.Addr})
			defer func() { _ = rdb.Close() }()
			hook := &dying{}
			hook.left.Store(1 << 40)
			rdb.AddHook(hook)
			_, err := b.over(rdb).Load(t.Context(), at, lines.New(strings.NewReader(text), lines.NDJSON), backfill.Options{Progress: func(bf backfill.Backfill) {
				if bf.Lines == 30 {
					hook.left.Store(1)
					if tc.begun {
						hook.left.Store(3) // the EVALSHA of Begin and the first task are still sent
					}
				}
			}})
			if !errors.Is(err, backfill.ErrTaken) {
				t.Fatalf("Load = %v", err)
			}
			if resumed := b.resume(at.Backfill.ID); tc.begun != (resumed.Begun != nil) || resumed.Backfill.Lines != 30 {
				t.Fatalf("begun: %+v", resumed)
			}
			before := len(b.queued())
			_, err = b.load(b.resume(at.Backfill.ID), tc.text, backfill.Options{})
			_, changed := errors.AsType[*backfill.ChangedError](err)
			switch {
			case tc.want == "" && err != nil:
				t.Errorf("Load = %v", err)
			case tc.want == "":
			case !changed || !strings.Contains(err.Error(), tc.want):
				t.Errorf("Load = %v, want %q", err, tc.want)
			case len(b.queued()) != before:
				t.Errorf("%d tasks were queued", len(b.queued())-before)
			}
		})
	}
}
