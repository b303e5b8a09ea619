package store_test

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"cloudidq/internal/pgtest"
	"cloudidq/internal/redistest"
	"cloudidq/store"
)

// While Redis is down, results saved in PostgreSQL wait there. Later each is relayed once, even
// if a process dies after Redis has the result and before the row is deleted.
func TestPostgresOutbox_RedisDown_ThenACrash(t *testing.T) {
	redis := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
	rdb := redis.Client(t)
	deliveries := store.NewDeliveries(rdb)
	dsn := pgtest.Database(t)
	p := openPostgres(t, dsn, time.Hour, store.WithOutbox(deliveries))
	b := &outboxFixture{T: t, rdb: rdb, results: p, deliveries: deliveries}
	b.save("t1", outgoing(1, store.Resolved))
	redis.Kill()
	if err := p.Save(t.Context(), "t2", []store.Record{outgoing(2, store.Resolved), outgoing(3, store.Failed)}); err != nil {
		t.Fatal(err)
	}
	conn := connect(t, dsn)
	if err := p.Relay(t.Context(), nil); err == nil || count(t, conn, "cloudidq_outbox") != 2 {
		t.Errorf("Relay = %v, want an error, and both results unrelayed", err)
	}
	redis.Restart()
	// The connection dies between the answer of Redis and the commit of the transaction.
	dying := &afterScript{do: func() {
		execute(t, conn, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle in transaction'")
	}}
	rdb.AddHook(dying)
	if err := p.Relay(t.Context(), nil); err == nil || count(t, conn, "cloudidq_outbox") != 2 {
		t.Errorf("Relay = %v, want an error, and both results unrelayed", err)
	}
	dying.do = nil
	if n := rdb.LLen(t.Context(), keyOf(t, rdb, ":o:orders")).Val(); n != 3 {
		t.Fatalf("%d results were relayed to Redis, want 3, or the test proves nothing", n)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	relayed := make(chan int, 10)
	go func() {
		done <- p.Run(ctx, slog.New(slog.DiscardHandler), func(appID, endpoint string, n int) {
			if appID != "wx1" || endpoint != "orders" {
				t.Errorf("relayed called for %s and %s", appID, endpoint)
			}
			relayed <- n
		})
	}()
	if n := <-relayed; n != 2 {
		t.Errorf("relayed called with %d results, want 2", n)
	}
	if n := count(t, conn, "cloudidq_outbox"); n != 0 {
		t.Errorf("%d results are unrelayed", n)
	}
	if err := p.Save(t.Context(), "t3", []store.Record{outgoing(4, store.Resolved)}); err != nil {
		t.Fatal(err)
	}
	if n := <-relayed; n != 1 {
		t.Errorf("relayed called with %d results, want 1", n)
	}
	stop()
	if err := <-done; err != nil {
		t.Errorf("Run = %v", err)
	}
	id, left := b.cut(10)
	if got := cloudIDs(t, b.load(id)); !slices.Equal(got, []string{"1", "2", "3", "4"}) || left != 0 {
		t.Errorf("the delivery holds %v, want each once", got)
	}
	if keys := rdb.Keys(t.Context(), "*:x").Val(); len(keys) != 0 {
		t.Errorf("Redis still holds %v", keys)
	}
}

// A result that was saved before its user's erasure and arrives after it, for instance over a
// connection that hung, is not delivered. A result saved after the erasure is delivered, even
// if it was accepted before.
func TestPostgresOutbox_ResultRelayedAfterAnErasure(t *testing.T) {
	b := newOutboxFixture(t)
	rec := outgoing(1, store.Resolved)
	if _, err := b.results.Erase(t.Context(), rec.AppID, rec.OpenID); err != nil {
		t.Fatal(err)
	}
	for n, saved := range []time.Time{time.Now().Add(-time.Second), time.Now().Add(time.Second)} {
		if err := b.deliveries.Append(t.Context(), int64(n), rec, saved); err != nil {
			t.Fatal(err)
		}
		if waits := int(b.rdb.Exists(t.Context(), strings.TrimSuffix(keyOf(t, b.rdb, ":x"), "x")+"o:orders").Val()); waits != n {
			t.Errorf("saved at %v: %d lists wait, want %d", saved, waits, n)
		}
	}
}

// afterScript calls do after every pipeline that runs a script.
type afterScript struct{ do func() }

func (h *afterScript) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h *afterScript) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (h *afterScript) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := next(ctx, cmds)
		if h.do != nil && strings.HasPrefix(cmds[0].Name(), "eval") {
			h.do()
		}
		return err
	}
}
