package backfill_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cloudidq/internal/backfill"
	"cloudidq/internal/lines"
	"cloudidq/internal/queue"
	"cloudidq/tasks"
)

// Each valid line is queued once, each invalid line is reported, and a repeated load changes
// nothing.
func TestLoad_EveryValidLineOnce(t *testing.T) {
	b := newFixture(t)
	text, valid := file(45)
	at := b.create(lines.NDJSON)
	var progress []int
	var rejects []backfill.Reject
	got, err := b.load(at, text, backfill.Options{
		Progress: func(bf backfill.Backfill) { progress = append(progress, bf.Lines) },
		Reject:   func(r backfill.Reject) { rejects = append(rejects, r) },
	})
	if err != nil || got.Lines != 45 || got.Accepted != len(valid) || got.Rejected != 6 ||
		got.Pending != len(valid) || got.State != backfill.Complete {
		t.Errorf("Load = %+v, %v, want %d accepted", got, err, len(valid))
	}
	if diff := cmp.Diff([]int{10, 20, 30, 40, 45}, progress); diff != "" {
		t.Errorf("progress (-want +got):\n%s", diff)
	}
	if len(rejects) != 6 || rejects[1] != (backfill.Reject{Line: 11, Error: "cloud_id must be a string"}) {
		t.Errorf("rejects = %v", rejects)
	}
	queued := b.queued()
	if diff := cmp.Diff(valid, references(queued)); diff != "" {
		t.Errorf("queued lines (-want +got):\n%s", diff)
	}
	for id, p := range queued {
		of, chunk, ok := tasks.ParseChunkTaskID(id)
		if !ok || of != got.ID || p.Backfill != got.ID || chunk < 0 || p.AppID != "wxA" || p.Webhook != "orders" || p.AcceptedAt.IsZero() {
			t.Errorf("task %s = %+v", id, p)
		}
	}
	ids, more, err := b.backfills.CloudIDs(t.Context(), &got, 0, 100)
	if err != nil || more || len(ids) != len(valid) || ids[0] != "73_0" || ids[1] != "73_0" ||
		ids[2] != "73_2" || ids[4] != "73_4" {
		t.Errorf("CloudIDs = %v, %v", ids, err)
	}
	// Loading the same input again changes nothing.
	again, err := b.load(b.resume(got.ID), text, backfill.Options{})
	if err != nil || again.Accepted != got.Accepted || len(b.queued()) != len(queued) {
		t.Errorf("Load again = %+v, %v", again, err)
	}
	if _, err := b.load(b.resume(got.ID), text+"\n", backfill.Options{}); !errors.Is(err, backfill.ErrComplete) {
		t.Errorf("Load of more lines = %v, want ErrComplete", err)
	}
}

// Nearly all tasks are full.
func TestLoad_FullTasks(t *testing.T) {
	b := newFixture(t)
	b.loader = b.loader.WithWindow(0) // the default window size
	const n = 9000
	at := b.create(lines.NDJSON)
	got, err := b.loader.Load(t.Context(), at, lines.New(&generator{n: n}, lines.NDJSON), backfill.Options{})
	if err != nil || got.Accepted != n {
		t.Fatalf("Load = %+v, %v", got, err)
	}
	short := 0
	for _, p := range b.queued() {
		if len(p.Items) < tasks.MaxItems {
			short++
		}
	}
	// The last task of a window is not full. On a loaded machine, the linger may cut some
	// more windows short.
	if tasks := len(b.queued()); short > 6 || tasks > n/100+6 {
		t.Errorf("%d of %d tasks are not full", short, tasks)
	}
}

func TestLoad_CSV(t *testing.T) {
	b := newFixture(t)
	text := "\ufeffreference,cloud_id,openid\r\nr1,73_1,o1\r\nr2,,o2\r\n\"r,3\",73_3,\"o3\"\r\n"
	got, err := b.load(b.create(lines.CSV), text, backfill.Options{})
	if err != nil || got.Lines != 4 || got.Accepted != 2 || got.Rejected != 1 {
		t.Errorf("Load = %+v, %v", got, err)
	}
	if diff := cmp.Diff([]string{"r,3", "r1"}, references(b.queued())); diff != "" {
		t.Errorf("queued lines (-want +got):\n%s", diff)
	}
	got, err = b.load(b.create(lines.CSV), "73_1,o1\n", backfill.Options{})
	if _, ok := errors.AsType[*lines.HeaderError](err); !ok || got.State != backfill.Open {
		t.Errorf("Load without a header = %+v, %v, want a HeaderError", got, err)
	}
}

func TestLoad_EmptyInput(t *testing.T) {
	b := newFixture(t)
	for name, text := range map[string]string{"Empty": "", "Blank": "\n\r\n \n"} {
		got, err := b.load(b.create(lines.NDJSON), text, backfill.Options{})
		if err != nil || got.Accepted != 0 || got.Rejected != 0 || !got.Finished() {
			t.Errorf("%s: Load = %+v, %v", name, got, err)
		}
	}
	if len(b.queued()) != 0 {
		t.Error("tasks are queued, want none")
	}
}

// A line with an invalid value is rejected with all reasons. Times are checked as of the time
// when the line was read.
func TestLoad_BadValues(t *testing.T) {
	b := newFixture(t)
	future := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	text := `{}` + "\n" + `{"cloud_id":"` + strings.Repeat("planted", 80) + `"}` + "\n" +
		`{"cloud_id":"","openid":"plan\u0007ted","reference":"` + strings.Repeat("r", 257) + `","obtained_at":"1970-01-20T00:00:00Z"}` + "\n" +
		`{"cloud_id":"x","obtained_at":"` + future + `"}` + "\n"
	var rejects []backfill.Reject
	if got, err := b.load(b.create(lines.NDJSON), text, backfill.Options{Reject: func(r backfill.Reject) { rejects = append(rejects, r) }}); err != nil || got.Rejected != 4 {
		t.Errorf("Load = %+v, %v", got, err)
	}
	want := []backfill.Reject{
		{Line: 1, Error: "cloud_id is empty"},
		{Line: 2, Error: "cloud_id has 560 bytes, at most 512 are allowed"},
		{Line: 3, Error: "cloud_id is empty; openid has a character at byte 4 that cannot be printed; reference has 257 bytes, at most 256 are allowed; " +
			"obtained_at is before the year 2000 (seconds and milliseconds mixed up?)"},
		{Line: 4, Error: "obtained_at is more than 1m0s in the future"},
	}
	if diff := cmp.Diff(want, rejects); diff != "" {
		t.Errorf("rejects (-want +got):\n%s", diff)
	}
}

// If the input fails, the complete lines before the failure are loaded. The next load
// continues from there.
func TestLoad_InputFails(t *testing.T) {
	b := newFixture(t)
	text, valid := file(33)
	gone := errors.New("connection reset")
	at := b.create(lines.NDJSON)
	for cut := 0; cut < len(text); cut += len(text)/9 + 1 {
		got, err := b.loader.Load(t.Context(), at, lines.New(broken(text[:cut], gone), lines.NDJSON), backfill.Options{})
		input, ok := errors.AsType[*backfill.InputError](err)
		complete := strings.Count(text[:cut], "\n")
		if !ok || !errors.Is(err, gone) || input.Lines != complete || got.Lines != complete ||
			got.State != backfill.Open {
			t.Errorf("Load of %d bytes = %+v, %v, want the %d complete lines", cut, got, err, complete)
		}
		at = b.resume(at.Backfill.ID)
	}
	if got, err := b.load(at, text, backfill.Options{}); err != nil || got.Accepted != len(valid) ||
		got.State != backfill.Complete {
		t.Errorf("Load = %+v, %v", got, err)
	}
	if diff := cmp.Diff(valid, references(b.queued())); diff != "" {
		t.Errorf("queued lines (-want +got):\n%s", diff)
	}
}

// Lines of a slow input do not wait until the window is full.
func TestLoad_SlowInput(t *testing.T) {
	b := newFixture(t)
	in, out := io.Pipe()
	at := b.create(lines.NDJSON)
	done := make(chan error, 1)
	loaded := make(chan int, 10)
	go func() {
		_, err := b.loader.Load(t.Context(), at, lines.New(in, lines.NDJSON), backfill.Options{
			Progress: func(bf backfill.Backfill) { loaded <- bf.Lines },
		})
		done <- err
	}()
	for n := 1; n <= 3; n++ {
		if _, err := fmt.Fprintf(out, `{"cloud_id":"73_%d"}`+"\n", n); err != nil {
			t.Fatal(err)
		}
		select {
		case got := <-loaded:
			if got != n {
				t.Errorf("%d lines are loaded, want %d", got, n)
			}
		case <-time.After(2 * time.Minute):
			t.Fatal("a line was not loaded within 2 minutes")
		}
	}
	_ = out.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// While the queue is full, Load waits up to MaxFull, and loads nothing.
func TestLoad_FullQueue(t *testing.T) {
	b := newFixture(t)
	text, valid := file(25)
	b.full.Store(true)
	at := b.create(lines.NDJSON)
	if got, err := b.load(at, text, backfill.Options{MaxFull: time.Millisecond}); !errors.Is(err, backfill.ErrFull) || got.Lines != 0 {
		t.Errorf("Load = %+v, %v, want ErrFull", got, err)
	}
	got, err := b.load(b.resume(at.Backfill.ID), text, backfill.Options{Full: func(error) { b.full.Store(false) }})
	if err != nil || got.Accepted != len(valid) {
		t.Errorf("Load = %+v, %v, want it to wait for room", got, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	stopped := lines.New(strings.NewReader(text), lines.NDJSON)
	got, err = b.loader.Load(ctx, b.create(lines.NDJSON), stopped, backfill.Options{Progress: func(backfill.Backfill) { b.full.Store(true) }, Full: func(error) { cancel() }})
	if !errors.Is(err, context.Canceled) || got.Lines != 10 {
		t.Errorf("Load = %+v, %v, want the lines loaded before the queue was full", got, err)
	}
}

// Lines of a paused app wait in their file and not in the queue. They are loaded after the pause.
func TestLoad_PausedApp(t *testing.T) {
	b := newFixture(t)
	text, valid := file(25)
	b.paused.Store(true)
	at := b.create(lines.NDJSON)
	if got, err := b.load(at, text, backfill.Options{MaxFull: time.Millisecond}); !errors.Is(err, backfill.ErrPaused) || got.Lines != 0 {
		t.Errorf("Load = %+v, %v, want ErrPaused and no lines", got, err)
	}
	if n, err := queue.Backlog(t.Context(), b.rdb, tasks.QueueBackfill); n != 0 || err != nil {
		t.Errorf("%d tasks in the queue, %v, want none", n, err)
	}
	var why error
	got, err := b.load(b.resume(at.Backfill.ID), text, backfill.Options{Full: func(err error) { why = err; b.paused.Store(false) }})
	if err != nil || got.Accepted != len(valid) || !errors.Is(why, backfill.ErrPaused) {
		t.Errorf("Load = %+v, %v, reason %v, want it to wait until the pause ends", got, err, why)
	}
}

// When ctx ends, Load loads the lines that it has read and returns, even if a read of the
// input is blocked.
func TestLoad_Stops(t *testing.T) {
	b := newFixture(t)
	in, out := io.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	at := b.create(lines.NDJSON)
	go func() { _, _ = io.WriteString(out, `{"cloud_id":"73_1"}`+"\n"+`{"clo`); cancel() }()
	unblocked := false
	got, err := b.loader.Load(ctx, at, lines.New(in, lines.NDJSON), backfill.Options{Unblock: func() { unblocked = in.Close() == nil }})
	if !errors.Is(err, context.Canceled) || got.Lines > 1 || got.State != backfill.Open || !unblocked {
		t.Errorf("Load = %+v, %v, want the one line", got, err)
	}
	if got, err = b.load(b.resume(got.ID), `{"cloud_id":"73_1"}`+"\n"+`{"cloud_id":"73_2"}`, backfill.Options{}); err != nil || got.Accepted != 2 {
		t.Errorf("Load = %+v, %v", got, err)
	}
}

// An error of AtEnd leaves the backfill open.
func TestLoad_AtEnd(t *testing.T) {
	b := newFixture(t)
	changed := errors.New("the file was modified")
	got, err := b.load(b.create(lines.NDJSON), `{"cloud_id":"73_1"}`, backfill.Options{AtEnd: func() error { return changed }})
	if !errors.Is(err, changed) || got.Lines != 1 || got.State != backfill.Open {
		t.Errorf("Load = %+v, %v, want it open", got, err)
	}
}

// A load stops once its backfill is canceled.
func TestLoad_Canceled(t *testing.T) {
	b := newFixture(t)
	text, _ := file(35)
	at := b.create(lines.NDJSON)
	got, err := b.load(at, text, backfill.Options{Progress: func(bf backfill.Backfill) {
		if bf.Lines == 20 {
			if _, err := b.backfills.Cancel(t.Context(), bf.ID); err != nil {
				t.Error(err)
			}
		}
	}})
	if !errors.Is(err, backfill.ErrCanceled) || got.Lines != 20 {
		t.Errorf("Load = %+v, %v, want ErrCanceled", got, err)
	}
}
