package main

import (
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cloudidq/internal/backfill"
	"cloudidq/internal/wechat/wechattest"
	"cloudidq/store"
	"cloudidq/tasks"
)

// backfillLines returns the number of lines for tests that kill processes.
// CLOUDIDQ_TEST_BACKFILL_LINES=200000 is the promised size; with the race detector it takes some
// minutes.
func backfillLines(t *testing.T, n int) int {
	t.Helper()
	if text := os.Getenv("CLOUDIDQ_TEST_BACKFILL_LINES"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

// backfillCrashes returns crash points in the middle of a load, in random order: before a window
// begins, between two of its tasks, and around its commit. tasksOfWindow is the number of tasks
// in a window.
func (s *site) backfillCrashes(t *testing.T, dice *rand.Rand, tasksOfWindow int) []crashPoint {
	t.Helper()
	const task = "asynq:{backfill}:t:bf_"
	begin, commit := s.script(t, "shared.lua", "begin.lua"), s.script(t, "shared.lua", "commit.lua")
	crashes := []crashPoint{
		{mark: begin},
		{mark: task, skip: dice.IntN(tasksOfWindow)},
		{mark: task, skip: dice.IntN(tasksOfWindow), arrives: true},
		{mark: commit},
		{mark: commit, arrives: true},
	}
	dice.Shuffle(len(crashes), func(i, j int) { crashes[i], crashes[j] = crashes[j], crashes[i] })
	return crashes
}

// script returns the command that calls a script of a backfill. It loads the script into Redis,
// so that the first call executes it too.
func (s *site) script(t *testing.T, parts ...string) string {
	t.Helper()
	var lua strings.Builder
	for _, part := range parts {
		text, err := os.ReadFile("../../internal/backfill/" + part)
		if err != nil {
			t.Fatal(err)
		}
		lua.Write(text)
	}
	sha, err := s.redis.Client(t).ScriptLoad(t.Context(), lua.String()).Result()
	if err != nil {
		t.Fatal(err)
	}
	return sha
}

// backfills returns the backfill store of the site.
func (s *site) backfills(t *testing.T) *backfill.Store {
	t.Helper()
	sealing, err := store.ParseKeyset(keyset().Reveal())
	if err != nil {
		t.Fatal(err)
	}
	return backfill.NewStore(s.redis.Client(t), 24*time.Hour, sealing)
}

// The command line is killed five times in the middle of a load and then resumed. Each line is
// enqueued exactly once.
func TestBackfill_CommandLineKilled(t *testing.T) {
	t.Parallel()
	n := backfillLines(t, 12_000)
	path, want := backfillFile(t, n)
	for seed := range uint64(2) {
		s := newSite(t, wechattest.Config{Seed: 31})
		backfills := s.backfills(t)
		wire := newTripwire(t, s.redis.Addr)
		s.redisAddr = wire.addr
		s.configure(t, "")
		args := []string{"backfill", "--config", s.config, "--appid", appA, path}
		id := ""
		for _, at := range s.backfillCrashes(t, rand.New(rand.NewPCG(seed, 1)), 36) {
			victim := make(chan *process, 1)
			wire.armFor(at, victim)
			p := s.start(t, args...)
			victim <- p
			wire.wait(t, p)
			now, err := backfills.Get(t.Context(), idOf(p.err.String()))
			if err != nil || now.State != backfill.Open || now.Lines == n {
				t.Fatalf("seed %d: killed at %+v: %+v, %v, want an incomplete load; stderr: %s",
					seed, at, now, err, p.err.String())
			}
			id = now.ID
			args = []string{"backfill", "--config", s.config, "--appid", appA, "--resume", id, path}
		}
		p := s.start(t, args...)
		if status := p.status(t); status != exitFailed || !strings.Contains(p.err.String(), "rejected lines: ") {
			t.Fatalf("exit %d: %s", status, p.err.String())
		}
		if diff := cmp.Diff(want, queuedLines(t, s.redis.Client(t))); diff != "" {
			t.Errorf("seed %d: queued lines (-want +got):\n%s", seed, diff)
		}
		now, err := backfills.Get(t.Context(), id)
		if err != nil || now.Lines != n || now.Accepted != len(want) || now.Rejected != n-len(want) || now.State != backfill.Complete {
			t.Errorf("seed %d: %+v, %v", seed, now, err)
		}
	}
}

// The API is killed five times in the middle of a load. Meanwhile a client repeats the same body
// with the same idempotency key, and a worker runs. Each line is loaded once and becomes final
// once.
func TestBackfill_APIKilled(t *testing.T) {
	t.Parallel()
	n := backfillLines(t, 4000)
	s := newSite(t, wechattest.Config{Seed: 32, Faults: wechattest.Faults{"busy": 0.05, "foreign": 0.02}})
	twin := s.twin(t)
	taps := make([]wechattest.Tap, n)
	var parts [10]strings.Builder
	for i := range taps {
		taps[i] = twin.CloudID(appB, i%(n/4+1), i/(n/4+1), time.Now())
		fmt.Fprintf(&parts[i*len(parts)/n], `{"cloud_id":%q,"openid":%q,"reference":"line %07d"}`+"\n", taps[i].CloudID, taps[i].OpenID, i+1)
	}
	s.worker(t)
	wire := newTripwire(t, s.redis.Addr)
	s.redisAddr = wire.addr
	s.configure(t, "api: {listen: '127.0.0.1:0'}")
	backfills := s.backfills(t)
	id := backfill.IDOf("key\x00nobody\x00nightly")
	// send writes the body in parts. It writes each part after the previous part is loaded, so a
	// load has at least ten windows.
	send := func(to *process) int {
		return upload(t.Context(), s.apiURL, func(body io.Writer) error {
			for i := range parts {
				if _, err := io.WriteString(body, parts[i].String()); err != nil {
					return err
				}
				for in := false; !in; {
					select {
					case <-to.exited:
						return io.ErrClosedPipe
					case <-time.After(5 * time.Millisecond):
					}
					now, err := backfills.Get(t.Context(), id)
					in = err == nil && now.Lines*len(parts) >= (i+1)*n
				}
			}
			return nil
		})
	}
	for _, at := range s.backfillCrashes(t, rand.New(rand.NewPCG(1, 1)), 4) {
		p := s.api(t)
		wire.arm(at, p)
		if status := send(p); status != 0 {
			t.Fatalf("killed at %+v, the API answered %d", at, status)
		}
		wire.wait(t, p)
		if now, err := backfills.Get(t.Context(), id); err != nil || now.State != backfill.Open || now.Lines == n {
			t.Fatalf("killed at %+v: %+v, %v, want an incomplete load", at, now, err)
		}
	}
	if status := send(s.api(t)); status != http.StatusAccepted {
		t.Fatalf("the API answered %d", status)
	}
	var now backfill.Backfill
	waitFor(t, "all cloudIDs to finish", func() bool {
		var err error
		now, err = backfills.Get(t.Context(), id)
		if err != nil || now.Pending+now.Resolved+now.Failed+now.Expired != now.Accepted || now.Pending < 0 {
			t.Fatalf("%+v, %v", now, err)
		}
		return now.Finished()
	})
	records, finished := s.records(t, taps)
	counted := map[store.Status]int{}
	for _, rec := range records {
		counted[rec.Status]++
	}
	if now.Lines != n || now.Accepted != n || finished != n || now.Resolved != counted[store.Resolved] || now.Failed != counted[store.Failed] || now.Expired != counted[store.Expired] {
		t.Errorf("counts %+v, records %v", now, counted)
	}
	checkTruth(t, twin, taps, records)
	if v := s.stats(t).Violations; v != (wechattest.Violations{}) {
		t.Errorf("the simulator saw %+v", v)
	}
	s.checkPrivate(t, taps)
}

// upload sends a body that write produces during the request. It returns the status, or 0 if
// there is no answer.
func upload(ctx context.Context, url string, write func(io.Writer) error) int {
	r, w := io.Pipe()
	var writer sync.WaitGroup
	writer.Go(func() { _ = w.CloseWithError(write(w)) })
	defer writer.Wait()
	defer func() { _ = r.Close() }()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/v1/backfills?appid="+appB, r)
	if err != nil {
		return 0
	}
	req.Header.Set("Idempotency-Key", "nightly")
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return 0
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

// A worker dies in the middle of a backfill while a client waits for it. Every line becomes
// final and is counted once, and the records have the order of the lines.
func TestBackfill_WorkerKilled(t *testing.T) {
	t.Parallel()
	const n = 1500
	s := newSite(t, wechattest.Config{Seed: 33, Latency: 30 * time.Millisecond, Faults: wechattest.Faults{"busy": 0.05, "foreign": 0.02}})
	twin := s.twin(t)
	var text strings.Builder
	taps := make([]wechattest.Tap, n)
	for i := range taps {
		taps[i] = twin.CloudID(appA, i, 0, time.Now())
		fmt.Fprintf(&text, `{"cloud_id":%q,"openid":%q,"obtained_at":%q,"reference":"line %07d"}`+"\n",
			taps[i].CloudID, taps[i].OpenID, taps[i].ObtainedAt.Format(time.RFC3339Nano), i+1)
	}
	path, out := writeFile(t, "taps.ndjson", text.String()), filepath.Join(t.TempDir(), "results.ndjson")
	wire := newTripwire(t, s.redis.Addr)
	s.redisAddr = wire.addr
	s.configure(t, "")
	victim := s.worker(t)
	wire.arm(crashPoint{mark: acknowledged(tasks.QueueBackfill), skip: 3}, victim)
	s.redisAddr = ""
	s.configure(t, "")
	p := s.start(t, "backfill", "--config", s.config, "--appid", appA, "--out", out, path)
	backfills := s.backfills(t)
	wire.wait(t, victim)
	inFlight := s.redis.Client(t).ZCard(t.Context(), "asynq:{backfill}:lease").Val()
	now, err := backfills.Get(t.Context(), idOf(p.err.String()))
	if err != nil || inFlight == 0 || now.Finished() {
		t.Fatalf("%+v, %v, %d tasks were in flight at the kill, so this test proves nothing", now,
			err, inFlight)
	}
	s.expireLeases(t)
	s.worker(t)
	status := p.status(t)
	if now, err = backfills.Get(t.Context(), now.ID); err != nil || !now.Finished() || now.Accepted != n || now.Resolved+now.Failed+now.Expired != n {
		t.Errorf("%+v, %v", now, err)
	}
	records, _ := s.records(t, taps)
	checkTruth(t, twin, taps, records)
	if now.Failed == 0 || status != exitFailed || !strings.HasSuffix(p.err.String(), fmt.Sprintf("cloudidq: not resolved: %d of %d\n", n-now.Resolved, n)) {
		t.Errorf("exit %d, %d failed: %s", status, now.Failed, p.err.String())
	}
	if !sumsUp(p.out.String(), now.Resolved) {
		t.Errorf("the summary is\n%s", p.out.String())
	}
	written, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	i := 0
	for line := range strings.Lines(string(written)) {
		if want := fmt.Sprintf(`"reference":"line %07d"`, i+1); !strings.Contains(line, want) {
			t.Fatalf("line %d of the results does not contain %s: %s", i+1, want, line)
		}
		i++
	}
	if info, err := os.Stat(out); i != n || err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%d results, %v, %v, want %d with mode 0600", i, info, err, n)
	}
	s.outputs = append(s.outputs, p)
	s.checkPrivate(t, taps)
}

// On SIGTERM while stdin is idle, the command prints how to resume, and the lines read so far
// are loaded.
func TestBackfill_SIGTERM(t *testing.T) {
	t.Parallel()
	s := newSite(t, wechattest.Config{Seed: 34})
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = in.Close(), out.Close() }()
	p := s.startReading(t, in, "backfill", "--config", s.config, "--appid", appA, "-")
	if _, err := io.WriteString(out, `{"cloud_id":"73_1","reference":"line 1"}`+"\n"+`{"clo`); err != nil {
		t.Fatal(err)
	}
	backfills := s.backfills(t)
	waitFor(t, "the line", func() bool {
		now, err := backfills.Get(t.Context(), idOf(p.err.String()))
		return err == nil && now.Lines == 1
	})
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	id := idOf(p.err.String())
	if status := p.status(t); status != exitFailed || !strings.HasSuffix(p.err.String(), "cloudidq: stopped; lines loaded: 1; continue with --resume "+id+"\n") {
		t.Errorf("exit %d: %s", status, p.err.String())
	}
	path := writeFile(t, "taps.ndjson", `{"cloud_id":"73_1","reference":"line 1"}`+"\n"+`{"cloud_id":"73_2","reference":"line 2"}`)
	if p = s.start(t, "backfill", "--config", s.config, "--appid", appA, "--resume", id, path); p.status(t) != exitDone {
		t.Errorf("resumed: %s", p.err.String())
	}
	if diff := cmp.Diff([]string{"line 1", "line 2"}, queuedLines(t, s.redis.Client(t))); diff != "" {
		t.Errorf("queued lines (-want +got):\n%s", diff)
	}
}

// If everything is resolved, backfill --wait exits with 0 and writes the records as CSV, to
// stdout or over an existing file.
func TestBackfill_Waits(t *testing.T) {
	t.Parallel()
	const n = 150
	s := newSite(t, wechattest.Config{Seed: 35})
	twin := s.twin(t)
	var text strings.Builder
	text.WriteString("cloud_id,openid\r\n")
	for i := range n {
		tap := twin.CloudID(appA, i, 0, time.Now())
		fmt.Fprintf(&text, "%s,%s\r\n", tap.CloudID, tap.OpenID)
	}
	path, out := writeFile(t, "taps.csv", text.String()), writeFile(t, "results.csv", "old results")
	s.worker(t)
	p := s.start(t, "backfill", "--config", s.config, "--appid", appA, "--out", out, path)
	if status := p.status(t); status != exitDone || !sumsUp(p.out.String(), n) {
		t.Errorf("exit %d: %s%s", status, p.out.String(), p.err.String())
	}
	written, err := os.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = written.Close() }()
	if rows, err := csv.NewReader(written).ReadAll(); err != nil || len(rows) != n+1 || rows[n][3] != "resolved" {
		t.Errorf("%d rows, %v", len(rows), err)
	}
	id := idOf(p.err.String())
	p = s.start(t, "backfill", "--config", s.config, "--appid", appA, "--resume", id, "--out", "-", path)
	if status := p.status(t); status != exitDone || strings.Count(p.out.String(), `"status":"resolved"`) != n || !sumsUp(p.err.String(), n) {
		t.Errorf("exit %d: %s", status, p.err.String())
	}
}

// sumsUp reports whether a summary shows the given number of resolved cloudIDs.
func sumsUp(table string, resolved int) bool {
	return regexp.MustCompile(fmt.Sprintf(`│ resolved │ +%d │`, resolved)).MatchString(table)
}
