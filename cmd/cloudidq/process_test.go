package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"cloudidq/internal/pgtest"
	"cloudidq/internal/porttest"
	"cloudidq/internal/redistest"
	"cloudidq/internal/seal"
	"cloudidq/internal/secret"
	"cloudidq/internal/wechat/wechattest"
	"cloudidq/store"
	"cloudidq/tasks"
)

// runAsMain makes the test binary run the program itself, so that tests use real processes with
// the race detector.
const runAsMain = "CLOUDIDQ_TEST_RUN_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(runAsMain) != "" {
		main()
		return
	}
	flag.Parse()
	if err := flag.Set("test.parallel", parallelTests); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(pgtest.Main(m))
}

// parallelTests is the number of tests that run in parallel. Most tests wait: for a lease to expire, a
// pause to end or a receiver.
const parallelTests = "12"

const (
	appA        = "wx00000000000000aa"
	appB        = "wx00000000000000bb"
	tokA        = "planted-AppSecret-of-app-A"
	waitTimeout = 4 * time.Minute // timeout of a wait, long enough for a very busy machine
)

// keyset returns the keyset that all processes of the tests use.
var keyset = sync.OnceValue(func() secret.Text {
	text, err := seal.New()
	if err != nil {
		panic(err)
	}
	return text
})

// process is a running cloudidq.
type process struct {
	cmd    *exec.Cmd
	out    bytes.Buffer
	err    lockedBuffer
	exited chan struct{}
}

// start runs cloudidq with the site's environment.
func (s *site) start(t *testing.T, args ...string) *process {
	t.Helper()
	return s.startReading(t, nil, args...)
}

// startReading is start for a command that reads stdin.
func (s *site) startReading(t *testing.T, stdin *os.File, args ...string) *process {
	t.Helper()
	p := &process{cmd: exec.CommandContext(context.Background(), os.Args[0], args...), exited: make(chan struct{})}
	// Without this option the race detector delays the exit of a process by a second.
	p.cmd.Env = append(os.Environ(), runAsMain+"=1", "SECRET_A="+tokA, "KEYSET_A="+keyset().Reveal(), "GORACE=atexit_sleep_ms=0",
		"CLOUDIDQ_OPS_LISTEN=127.0.0.1:0") // several processes run on one machine
	p.cmd.Env = append(p.cmd.Env, s.env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.err
	if stdin != nil {
		p.cmd.Stdin = stdin
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = p.cmd.Wait(); close(p.exited) }()
	t.Cleanup(func() { p.kill() })
	return p
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.exited
}

// term sends SIGTERM and waits until the process has exited.
func (p *process) term(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.exited:
	case <-time.After(waitTimeout):
		t.Fatal("the process does not exit")
	}
}

// status waits for the exit and returns the exit status.
func (p *process) status(t *testing.T) int {
	t.Helper()
	select {
	case <-p.exited:
	case <-time.After(waitTimeout):
		t.Fatalf("the process does not exit; stderr: %s", p.err.String())
	}
	return p.cmd.ProcessState.ExitCode()
}

// lockedBuffer collects the output of a process.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// site is the environment of a test: a Redis, a simulator process and a configuration file for
// workers and producers.
type site struct {
	redis  *redistest.Server
	sim    wechattest.Config // of the process; a second simulator with it knows the same truth
	flags  []string          // additional flags of the simulator
	wechat *process
	addr   string // of the simulator
	url    string
	apiURL string
	config string
	dsn    string // DSN of the results; empty means that they are in Redis
	env    []string

	appSettings string // additional settings of app A
	redisAddr   string // for the configuration, if different from the address of redis
	wechatURL   string // for the configuration, if different from the simulator's

	opened  store.Results // the test's own results store
	outputs []*process    // processes whose output must contain nothing private
	planted []string      // additional texts that the output must not contain
}

// newSite starts Redis and the simulator, with the given additional flags.
func newSite(t *testing.T, sim wechattest.Config, flags ...string) *site {
	t.Helper()
	return newSiteOn(t, redistest.Start(t), sim, flags...)
}

func newSiteOn(t *testing.T, redis *redistest.Server, sim wechattest.Config, flags ...string) *site {
	t.Helper()
	s := &site{redis: redis, sim: sim, flags: flags}
	s.addr = porttest.Reserve(t)
	s.url = "http://" + s.addr
	s.startSim(t)
	s.config = filepath.Join(t.TempDir(), "cloudidq.yaml")
	s.configure(t, "")
	return s
}

func (s *site) startSim(t *testing.T) {
	t.Helper()
	s.wechat = s.start(t, append([]string{"sim", "--listen", s.addr, "--latency", s.sim.Latency.String(),
		"--faults", s.sim.Faults.String(), "--seed", fmt.Sprint(s.sim.Seed), "--secret", tokA}, s.flags...)...)
	waitFor(t, "the simulator", func() bool {
		conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(t.Context(), "tcp", s.addr)
		if err != nil {
			return false
		}
		return conn.Close() == nil
	})
}

// configure writes the configuration file, with the given additional settings.
func (s *site) configure(t *testing.T, more string) {
	t.Helper()
	driver := ""
	if s.dsn != "" {
		driver = fmt.Sprintf(", driver: postgres, dsn: %q", s.dsn)
	}
	text := fmt.Sprintf(`redis: {url: "redis://%s/0"}
store: {keyset: "env:KEYSET_A"%s}
wechat: {base_url: %q}
apps:
  - {appid: %s, token: {mode: stable, secret: "env:SECRET_A"}%s}
  - {appid: %s, token: {mode: stable, secret: "env:SECRET_A"}, group_by: app}
log: {level: debug}
%s`, cmp.Or(s.redisAddr, s.redis.Addr), driver, cmp.Or(s.wechatURL, s.url), appA, s.appSettings, appB, more)
	if err := os.WriteFile(s.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (s *site) worker(t *testing.T) *process {
	t.Helper()
	p := s.start(t, "worker", "--config", s.config)
	s.outputs = append(s.outputs, p)
	waitFor(t, "the worker", func() bool { return strings.Contains(p.err.String(), "the worker is up") })
	return p
}

// twin returns a simulator in this process that knows the same truth as the simulator process.
func (s *site) twin(t *testing.T) *wechattest.Simulator {
	t.Helper()
	twin, err := wechattest.New(s.sim)
	if err != nil {
		t.Fatal(err)
	}
	return twin
}

func (s *site) stats(t *testing.T) wechattest.Stats {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+"/sim/stats", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var stats wechattest.Stats
	if err := json.NewDecoder(resp.Body).Decode(&stats); err != nil {
		t.Fatal(err)
	}
	return stats
}

// enqueueMany enqueues n cloudIDs of the given number of users.
func (s *site) enqueueMany(t *testing.T, twin *wechattest.Simulator, n, users int) []wechattest.Tap {
	t.Helper()
	taps := make([]wechattest.Tap, n)
	now := time.Now()
	for i := range taps {
		taps[i] = twin.CloudID(appA, i%users, i/users, now)
	}
	s.enqueue(t, taps)
	return taps
}

// enqueueMore enqueues one cloudID for each of n users. first is the number of the first user.
func (s *site) enqueueMore(t *testing.T, twin *wechattest.Simulator, n, first int) []wechattest.Tap {
	t.Helper()
	taps := make([]wechattest.Tap, n)
	for i := range taps {
		taps[i] = twin.CloudID(appA, first+i, 0, time.Now())
	}
	s.enqueue(t, taps)
	return taps
}

// enqueue enqueues cloudIDs of one app.
func (s *site) enqueue(t *testing.T, taps []wechattest.Tap) {
	t.Helper()
	client := tasks.NewClient(s.redis.Client(t), tasks.Options{})
	defer client.Close()
	req := tasks.Request{AppID: taps[0].AppID}
	for i := range taps {
		req.Items = append(req.Items, tasks.Item{CloudID: taps[i].CloudID, OpenID: taps[i].OpenID, ObtainedAt: taps[i].ObtainedAt})
	}
	if _, err := client.ResolveAll(t.Context(), req); err != nil {
		t.Fatal(err)
	}
}

// results returns the store that the processes use. It opens the store once.
func (s *site) results(t *testing.T) store.Results {
	t.Helper()
	if s.opened != nil {
		return s.opened
	}
	sealing, err := store.ParseKeyset(keyset().Reveal())
	if err != nil {
		t.Fatal(err)
	}
	if s.dsn == "" {
		s.opened = store.NewRedis(s.redis.Client(t), time.Hour, store.Sealed(sealing))
		return s.opened
	}
	p, err := store.OpenPostgres(t.Context(), s.dsn, time.Hour, store.Sealed(sealing))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	s.opened = p
	return p
}

// records looks up all taps and counts the final records.
func (s *site) records(t *testing.T, taps []wechattest.Tap) (records []store.Record, finished int) {
	t.Helper()
	results := s.results(t)
	for at := 0; at < len(taps); at += 1000 {
		var ids []string
		for _, tap := range taps[at:min(at+1000, len(taps))] {
			ids = append(ids, tap.CloudID)
		}
		waitFor(t, "the store to answer", func() bool { // PostgreSQL cancels slow queries, as on a busy machine
			found, err := results.Lookup(t.Context(), taps[0].AppID, ids)
			if err == nil {
				records = append(records, found...)
			}
			return err == nil
		})
	}
	for _, rec := range records {
		if rec.Status.Final() {
			finished++
		}
	}
	return records, finished
}

// checkTruth compares records with the simulator's truth, byte for byte.
func checkTruth(t *testing.T, twin *wechattest.Simulator, taps []wechattest.Tap, records []store.Record) {
	t.Helper()
	wrong := 0
	for i, rec := range records {
		want := twin.Truth(taps[i].AppID, taps[i].OpenID, taps[i].CloudID)
		ok := string(rec.Status) == want.Status && bytes.Equal(rec.Data, want.Data) && rec.Kind == want.Kind
		if ok && want.Status != wechattest.StatusResolved {
			ok = rec.Error != nil && rec.Error.Code == want.Code
		}
		if !ok {
			if wrong++; wrong <= 3 {
				t.Errorf("record %d is %+v (%+v), want %+v", i, rec, rec.Error, want)
			}
		}
	}
	if wrong > 0 {
		t.Errorf("%d of %d records are wrong", wrong, len(records))
	}
}

func waitFor(t *testing.T, what string, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), waitTimeout)
	defer cancel()
	for {
		begun := time.Now()
		if done() {
			return
		}
		// Checking uses at most a fifth of a processor, because the processes under test need it
		// more.
		select {
		case <-time.After(max(20*time.Millisecond, 4*time.Since(begun))):
		case <-ctx.Done():
			t.Fatalf("waited %s for %s", waitTimeout, what)
		}
	}
}

// expireLeases expires the leases of a dead worker, which would otherwise last half a minute.
func (s *site) expireLeases(t *testing.T) {
	t.Helper()
	rdb := s.redis.Client(t)
	for _, queue := range []string{tasks.QueueEvents, tasks.QueueBackfill, tasks.QueueWebhooks} {
		key := "asynq:{" + queue + "}:lease"
		ids, err := rdb.ZRange(t.Context(), key, 0, -1).Result()
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range ids {
			if err := rdb.ZAddXX(t.Context(), key, redis.Z{Score: float64(time.Now().Add(-time.Minute).Unix()), Member: id}).Err(); err != nil {
				t.Fatal(err)
			}
		}
	}
}
