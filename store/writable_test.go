package store_test

import (
	"errors"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"cloudidq/internal/pgtest"
	"cloudidq/internal/redistest"
	"cloudidq/store"
)

// Check returns an error for a server that answers a PING but accepts no writes. The error names the
// reason.
func TestWritable_RedisRefuses(t *testing.T) {
	for word, command := range map[string][]any{
		"OOM":        {"CONFIG", "SET", "maxmemory", "1"},
		"NOREPLICAS": {"CONFIG", "SET", "min-replicas-to-write", "1"},
		"READONLY":   {"REPLICAOF", "127.0.0.1", "1"},
		"NOPERM":     {"ACL", "SETUSER", "default", "-set"},
	} {
		t.Run(word, func(t *testing.T) {
			rdb := redistest.Start(t).Client(t)
			if err := store.NewWritable(rdb, "events").Check(t.Context()); err != nil {
				t.Fatalf("Check() = %v before", err)
			}
			if err := rdb.Do(t.Context(), command...).Err(); err != nil {
				t.Fatal(err)
			}
			if err := rdb.Ping(t.Context()).Err(); err != nil {
				t.Fatalf("PING = %v, want an answer, or the test proves nothing", err)
			}
			err := store.NewWritable(rdb, "events").Check(t.Context())
			if refused, ok := errors.AsType[*store.RefusedError](err); !ok || refused.Word != word {
				t.Errorf("Check() = %v, want it refused with %s", err, word)
			}
		})
	}
}

func TestWritable_RedisIsDown(t *testing.T) {
	srv := redistest.Start(t)
	rdb := srv.Client(t)
	srv.Kill()
	err := store.NewWritable(rdb, "events").Check(t.Context())
	if _, refused := errors.AsType[*store.RefusedError](err); err == nil || refused {
		t.Errorf("Check() = %v, want another error than a refusal", err)
	}
}

// Redis is written to at most once a second, however many callers there are.
func TestWritable_WritesAtMostOnceASecond(t *testing.T) {
	rdb := redistest.Start(t).Client(t)
	w := store.NewWritable(rdb, "events", "backfill")
	begun := time.Now()
	var callers sync.WaitGroup
	for range 20 {
		callers.Go(func() {
			for range 200 {
				if err := w.Check(t.Context()); err != nil {
					t.Errorf("Check() = %v", err)
				}
			}
		})
	}
	callers.Wait()
	most := 2 * (1 + int(time.Since(begun)/time.Second))
	_, stats, _ := strings.Cut(rdb.Info(t.Context(), "commandstats").Val(), "cmdstat_set:calls=")
	count, _, _ := strings.Cut(stats, ",")
	if n, err := strconv.Atoi(count); err != nil || n > most || n == 0 {
		t.Errorf("%d writes for 4000 calls (%v), want 1 to %d", n, err, most)
	}
	if ttl := rdb.TTL(t.Context(), "cloudidq:writable:{events}").Val(); ttl <= 0 || ttl > time.Minute {
		t.Errorf("the probe's key expires in %s, want at most a minute", ttl)
	}
}

// A standby or a read-only database answers queries but accepts no writes.
func TestPostgres_Writable_ReadOnlyIsRefused(t *testing.T) {
	dsn := pgtest.Database(t)
	p := openPostgres(t, dsn, time.Hour)
	if err := p.Writable(t.Context()); err != nil {
		t.Fatalf("Writable() = %v before", err)
	}
	conn := connect(t, dsn)
	execute(t, conn, `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = on', current_database()); END $$`)
	execute(t, conn, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
	var err error
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		err = p.Writable(t.Context())
		if refused, ok := errors.AsType[*store.RefusedError](err); ok && refused.Word == "read-only" {
			return
		}
	}
	t.Errorf("Writable() = %v, want it refused", err)
}
