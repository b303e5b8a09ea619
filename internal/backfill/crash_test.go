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

// crashHook is a Redis hook that fails every command from a certain one on. The first of
// these is either not sent, or sent with its answer lost. The error of the hook is one
// that a load does not retry.
type crashHook struct {
	left      atomic.Int64 // commands until the first failure
	loseReply bool         // the first failed command is executed
}

var errCrashed = fmt.Errorf("crashed: %w", backfill.ErrSuperseded)

func (d *crashHook) call(send func() error) error {
	switch left := d.left.Add(-1); {
	case left > 0:
		return send()
	case left == 0 && d.loseReply:
		_ = send()
	}
	return errCrashed
}

func (d *crashHook) DialHook(next redis.DialHook) redis.DialHook { return next }

func (d *crashHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := d.call(func() error { return next(ctx, cmd) })
		cmd.SetErr(err)
		return err
	}
}

func (d *crashHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// A load may crash before or after any command, and the next load continues it. In the end, each
// valid line is queued exactly once. In the second half, a worker processes the queued tasks
// between the crash and the next load, and no task ever runs twice.
func TestLoad_CrashAtEveryCommand(t *testing.T) {
	b := newFixture(t)
	text, valid := file(33)
	for _, withWorker := range []bool{false, true} {
		for _, loseReply := range []bool{false, true} {
			for n := int64(1); ; n++ {
				b.flush()
				at := b.create(lines.NDJSON)
				rdb := redis.NewClient(&redis.Options{Addr: b.redis.Addr})
				hook := &crashHook{loseReply: loseReply}
				hook.left.Store(n)
				rdb.AddHook(hook)
				_, err := b.loaderWith(rdb).Load(t.Context(), at, lines.New(strings.NewReader(text), lines.NDJSON), backfill.Options{})
				_ = rdb.Close()
				survived := err == nil
				if !survived && !errors.Is(err, backfill.ErrSuperseded) {
					t.Fatalf("crash %d: Load = %v", n, err)
				}

				ran := map[string]int{}
				if withWorker {
					b.work(at.Backfill.ID, ran)
				}
				before := b.queued()
				got, err := b.load(b.resume(at.Backfill.ID), text, backfill.Options{})
				if err != nil || got.Accepted != len(valid) || got.Rejected != 5 || got.Lines != 33 {
					t.Fatalf("crash %d: Load = %+v, %v", n, got, err)
				}
				queued := b.queued()
				for id := range before {
					if _, there := queued[id]; !there {
						t.Errorf("crash %d: task %s is missing", n, id)
					}
				}
				if withWorker {
					b.work(at.Backfill.ID, ran)
					for id, times := range ran {
						if times != 1 {
							t.Errorf("crash %d: task %s ran %d times", n, id, times)
						}
					}
					if got, err = b.backfills.Get(t.Context(), got.ID); err != nil || got.Resolved != len(valid) ||
						!got.Finished() {
						t.Errorf("crash %d: %+v, %v, want all resolved", n, got, err)
					}
				} else if diff := cmp.Diff(valid, references(queued)); diff != "" {
					t.Errorf("crash %d: queued lines (-want +got):\n%s", n, diff)
				}
				if t.Failed() {
					return
				}
				if survived {
					t.Logf("with a worker: %v, the last reply lost: %v, %d crashes", withWorker, loseReply, n-1)
					break
				}
			}
		}
	}
}

// flush empties Redis, and restores the key that producers write only once.
func (b *fixture) flush() {
	b.Helper()
	flush(b, b.rdb)
	if err := b.rdb.SAdd(b.Context(), "asynq:queues", tasks.QueueBackfill).Err(); err != nil {
		b.Fatal(err)
	}
}

// work removes all tasks from the queue, as a worker would, and counts their lines as resolved.
func (b *fixture) work(id string, ran map[string]int) {
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
	crashHook
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
func TestLoad_LostReplies(t *testing.T) {
	b := newFixture(t)
	text, valid := file(60)
	rdb := redis.NewClient(&redis.Options{Addr: b.redis.Addr})
	defer func() { _ = rdb.Close() }()
	rdb.AddHook(&flaky{})
	got, err := b.loaderWith(rdb).Load(t.Context(), b.create(lines.NDJSON), lines.New(strings.NewReader(text), lines.NDJSON), backfill.Options{})
	if err != nil || got.Accepted != len(valid) {
		t.Fatalf("Load = %+v, %v", got, err)
	}
	if diff := cmp.Diff(valid, references(b.queued())); diff != "" {
		t.Errorf("queued lines (-want +got):\n%s", diff)
	}
}

// If Redis restarts during a load, the load waits and continues.
func TestLoad_RedisRestarts(t *testing.T) {
	b := newFixture(t, "--appendonly", "yes", "--appendfsync", "always")
	text, valid := file(60)
	restarted := make(chan struct{})
	got, err := b.load(b.create(lines.NDJSON), text, backfill.Options{Progress: func(bf backfill.Backfill) {
		if bf.Lines == 20 {
			b.redis.Kill()
			time.AfterFunc(200*time.Millisecond, func() { b.redis.Restart(); close(restarted) })
		}
	}})
	<-restarted
	if err != nil || got.Accepted != len(valid) {
		t.Fatalf("Load = %+v, %v", got, err)
	}
	if diff := cmp.Diff(valid, references(b.queued())); diff != "" {
		t.Errorf("queued lines (-want +got):\n%s", diff)
	}
}

// If two clients load one backfill at the same time, one of them gets ErrSuperseded. No line
// is queued twice.
func TestLoad_TwoClients(t *testing.T) {
	b := newFixture(t)
	text, valid := file(400)
	at := b.create(lines.NDJSON)
	done := make(chan error, 1)
	begun := make(chan struct{})
	go func() {
		first := true
		_, err := b.loader.Load(t.Context(), at, lines.New(strings.NewReader(text), lines.NDJSON), backfill.Options{Progress: func(backfill.Backfill) {
			if first {
				first = false
				close(begun)
			}
		}})
		done <- err
	}()
	<-begun
	got, err := b.load(b.resume(at.Backfill.ID), text, backfill.Options{})
	if err != nil || got.Accepted != len(valid) {
		t.Errorf("Load of the second = %+v, %v", got, err)
	}
	if err := <-done; !errors.Is(err, backfill.ErrSuperseded) {
		t.Errorf("Load of the first = %v, want ErrSuperseded", err)
	}
	if diff := cmp.Diff(valid, references(b.queued())); diff != "" {
		t.Errorf("queued lines (-want +got):\n%s", diff)
	}
}

// If the input has changed, the error names the changed lines, and none of them is queued.
func TestLoad_ChangedInput(t *testing.T) {
	b := newFixture(t)
	text, _ := file(60)
	edit := func(line int, to string) string {
		all := strings.SplitAfter(text, "\n")
		all[line-1] = to
		return strings.Join(all, "")
	}
	for name, tc := range map[string]struct {
		begun bool // the first load crashed after it began lines 31 to 40 and before it committed them
		text  string
		want  string
	}{
		"FirstLine":   {false, edit(1, "{}\n"), "at least one of lines 1 to 10 "},
		"ABlankLine":  {false, edit(6, " \n"), "at least one of lines 1 to 10 "},
		"LaterLine":   {false, edit(30, "{}\n"), "at least one of lines 21 to 30 "},
		"OneLineMore": {false, edit(12, "{}\n{}\n"), "at least one of lines 11 to 20 "},
		"OneLess":     {false, edit(12, ""), "at least one of lines 11 to 20 "},
		"Shorter": {false, text[:strings.Index(text, "line 00026")],
			"line 27, which an earlier load read, is missing"},
		"Empty": {false, "", "line 1, which an earlier load read, is missing"},
		"NotIn": {false, edit(31, "{}\n"), ""}, // no earlier load has read the line
		"Begun": {true, edit(31, "{}\n"), "at least one of lines 31 to 40 "},
		"BegunShort": {true, text[:strings.Index(text, "line 00035")] + `"}`,
			"line 36, which an earlier load read, is missing"},
		"BegunSame": {true, strings.ReplaceAll(text, "\n", "\r\n"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			b.flush()
			at := b.create(lines.NDJSON)
			rdb := redis.NewClient(&redis.Options{Addr: b.redis.Addr})
			defer func() { _ = rdb.Close() }()
			hook := &crashHook{}
			hook.left.Store(1 << 40)
			rdb.AddHook(hook)
			_, err := b.loaderWith(rdb).Load(t.Context(), at, lines.New(strings.NewReader(text), lines.NDJSON), backfill.Options{Progress: func(bf backfill.Backfill) {
				if bf.Lines == 30 {
					hook.left.Store(1)
					if tc.begun {
						hook.left.Store(3) // the EVALSHA of Begin and the first task are still sent
					}
				}
			}})
			if !errors.Is(err, backfill.ErrSuperseded) {
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
