package worker

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"cloudidq/internal/activity"
	"cloudidq/internal/backfill"
	"cloudidq/internal/batch/batchtest"
	"cloudidq/internal/coord"
	"cloudidq/internal/redistest"
	"cloudidq/internal/secret"
	"cloudidq/internal/wechat"
	"cloudidq/store"
	"cloudidq/tasks"
)

// refusals are the ways in which a running Redis refuses commands, by name. word is the first
// word of its errors. begin starts the refusal, and the commands of end stop it.
var refusals = map[string]struct {
	word  string
	begin func(t *testing.T, r *refusingRedis)
	end   [][]any
}{
	"full": {"OOM", setting("maxmemory", "1"), [][]any{{"CONFIG", "SET", "maxmemory", "0"}}},
	"no replicas": {
		"NOREPLICAS", setting("min-replicas-to-write", "1"), [][]any{{"CONFIG", "SET", "min-replicas-to-write", "0"}},
	},
	"read-only replica": {
		"READONLY", func(t *testing.T, r *refusingRedis) { r.do(t, "REPLICAOF", "127.0.0.1", "1") },
		[][]any{{"REPLICAOF", "NO", "ONE"}},
	},
	"cannot save": {"MISCONF", failToSave, [][]any{{"CONFIG", "SET", "stop-writes-on-bgsave-error", "no"}}},
	"long script": {"BUSY", keepBusy, [][]any{{"SCRIPT", "KILL"}}},
	"password wanted": {
		"NOAUTH", func(t *testing.T, r *refusingRedis) {
			r.do(t, "CONFIG", "SET", "requirepass", "planted")
			r.do(t, "AUTH", "planted")
			r.do(t, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
		}, [][]any{{"CONFIG", "SET", "requirepass", ""}},
	},
	"scripts forbidden": {
		"NOPERM", func(t *testing.T, r *refusingRedis) { r.do(t, "ACL", "SETUSER", "default", "-evalsha", "-eval") },
		[][]any{{"ACL", "SETUSER", "default", "+@all"}},
	},
	"records forbidden": { // the queue still works
		"NOPERM", func(t *testing.T, r *refusingRedis) { r.do(t, "ACL", "SETUSER", "default", "resetkeys", "~asynq:*") },
		[][]any{{"ACL", "SETUSER", "default", "~*"}},
	},
}

func setting(name, value string) func(*testing.T, *refusingRedis) {
	return func(t *testing.T, r *refusingRedis) { r.do(t, "CONFIG", "SET", name, value) }
}

// refusingRedis is a server that a test can make refuse commands, through one connection
// that stays open.
type refusingRedis struct {
	*redistest.Server
	conn *redis.Conn
}

func (r *refusingRedis) do(t *testing.T, command ...any) string {
	t.Helper()
	text, err := r.conn.Do(context.WithoutCancel(t.Context()), command...).Result()
	if err != nil {
		t.Fatalf("%v = %v", command[:2], err)
	}
	return fmt.Sprint(text)
}

// failToSave makes a snapshot fail by removing its directory.
func failToSave(t *testing.T, r *refusingRedis) {
	dir, err := r.conn.ConfigGet(t.Context(), "dir").Result()
	if err == nil {
		err = os.RemoveAll(dir["dir"])
	}
	if err != nil {
		t.Fatal(err)
	}
	r.do(t, "CONFIG", "SET", "stop-writes-on-bgsave-error", "yes", "save", "3600 1")
	r.do(t, "BGSAVE")
	await(t, "the snapshot to fail", func() bool {
		return strings.Contains(r.do(t, "INFO", "persistence"), "rdb_last_bgsave_status:err")
	})
}

// keepBusy runs an endless script. The script changes nothing, so that it can be killed.
func keepBusy(t *testing.T, r *refusingRedis) {
	r.do(t, "CONFIG", "SET", "lua-time-limit", "1")
	other := redis.NewClient(&redis.Options{Addr: r.Addr, MaxRetries: -1, ReadTimeout: time.Minute})
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = other.Eval(context.Background(), "while true do end", nil).Err()
	}()
	t.Cleanup(func() { <-done; _ = other.Close() })
	await(t, "the script to run", func() bool { return redis.HasErrorPrefix(r.conn.Ping(t.Context()).Err(), "BUSY") })
}

// errorsOf returns the number of error replies of Redis that begin with word.
func (r *refusingRedis) errorsOf(t *testing.T, word string) int {
	t.Helper()
	_, rest, _ := strings.Cut(r.do(t, "INFO", "errorstats"), "errorstat_"+word+":count=")
	n, _ := strconv.Atoi(strings.TrimSpace(strings.SplitN(rest, "\r\n", 2)[0]))
	return n
}

// refusedWindow is how long the refusals are counted. refusedMost is the maximum per second. A
// slow machine causes fewer.
const (
	refusedWindow = 2 * time.Second
	refusedMost   = 500
)

// A worker with the default configuration and a backlog sends at most 500 commands a second to
// a Redis that refuses them. This covers all loops of the worker and every reason to refuse.
// The worker continues once Redis accepts commands again.
func TestWorker_SparesARedisThatRefuses(t *testing.T) {
	for _, name := range slices.Sorted(maps.Keys(refusals)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tc := refusals[name]
			srv := redistest.Start(t)
			own := srv.Client(t)
			r := &refusingRedis{srv, own.Conn()}
			t.Cleanup(func() { _ = r.conn.Close() })
			f := &batchtest.WeChat{Delay: 100 * time.Millisecond}
			backlog(t, own, 3000)
			wholeWorker(t, srv, f)
			await(t, "the worker to work", func() bool { return f.Sent() > 0 })

			tc.begin(t, r)
			before, begun := 0, time.Now()
			if tc.word != "BUSY" {
				before = r.errorsOf(t, tc.word)
			}
			<-time.After(refusedWindow)
			took := time.Since(begun)
			for _, command := range tc.end {
				r.do(t, command...)
			}
			await(t, "Redis to answer", func() bool { return r.conn.Ping(t.Context()).Err() == nil })
			n := r.errorsOf(t, tc.word) - before
			t.Logf("%d errors %s in %s", n, tc.word, took.Round(time.Millisecond))
			if most := int(refusedMost * took.Seconds()); n > most {
				t.Errorf("%d refused commands, want at most %d in %s", n, most, took)
			}
			if n == 0 {
				t.Errorf("no error %s: nothing is proved", tc.word)
			}
			was := f.Sent()
			await(t, "the worker to go on", func() bool { return f.Sent() > was+50 })
		})
	}
}

// backlog enqueues n tasks of one cloudID each.
func backlog(t *testing.T, rdb *redis.Client, n int) {
	t.Helper()
	client := tasks.NewClient(rdb, tasks.Options{CommitLinger: -1})
	defer client.Close()
	for i := range n {
		req := tasks.Request{AppID: testApp, Items: []tasks.Item{{CloudID: fmt.Sprintf("73_%04d", i), OpenID: fmt.Sprintf("o%d", i)}}}
		if _, err := client.Resolve(t.Context(), req); err != nil {
			t.Fatal(err)
		}
	}
}

// wholeWorker runs a worker until the test ends. The worker has the defaults of `cloudidq
// worker`, and every part that uses Redis.
func wholeWorker(t *testing.T, srv *redistest.Server, f *batchtest.WeChat) {
	t.Helper()
	queue := redis.NewClient(&redis.Options{Addr: srv.Addr, MaxRetries: -1, PoolSize: 64, DisableIdentity: true})
	rdb := redis.NewClient(&redis.Options{Addr: srv.Addr, MaxRetries: 3, PoolSize: 64, DisableIdentity: true})
	t.Cleanup(func() { _, _ = queue.Close(), rdb.Close() })
	a := app(func(a *App) {
		a.Tokens, a.Webhook, a.RatePerMinute = wechat.StaticToken(secret.New("planted")), "orders", 1_000_000
	})
	w, err := New(Config{
		Apps: []App{a}, Webhooks: []Webhook{hookAt(t, "orders", 100, func(http.ResponseWriter, *http.Request) {})},
		Lifetime: 5 * time.Minute, Concurrency: 64, Fetchers: 2, ShutdownTimeout: 5 * time.Second,
		Shares: map[string]int{tasks.QueueEvents: 6, tasks.QueueBackfill: 1, tasks.QueueWebhooks: 3},
	}, Parts{
		Queue: queue, Results: store.NewRedis(rdb, time.Hour), Deliveries: store.NewDeliveries(rdb), WeChat: f,
		Backfills: backfill.NewStore(rdb, time.Hour, nil), Pauses: coord.NewPauses(rdb), Rates: coord.NewRates(rdb),
		Activity: activity.NewRecorder(rdb), Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	runUntilTheEnd(t, w)
}
