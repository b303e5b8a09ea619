package store_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"cloudidq/internal/pgtest"
	"cloudidq/internal/redistest"
	"cloudidq/store"
)

func TestInspectRedis(t *testing.T) {
	bare, err := store.InspectRedis(t.Context(), redistest.Start(t).Client(t))
	if err != nil {
		t.Fatal(err)
	}
	if s := bare; s.AOF || s.Unsaid || s.Replica || s.Eviction != "noeviction" || !strings.Contains(s.Version, ".") || s.UsedBytes == 0 ||
		s.Ahead.Abs() > time.Second {
		t.Errorf("a bare server is %+v", s)
	}
	srv := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always", "--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru")
	full, err := store.InspectRedis(t.Context(), srv.Client(t))
	if err != nil {
		t.Fatal(err)
	}
	if s := full; !s.AOF || s.AOFBroken || s.Fsync != "always" || s.Eviction != "allkeys-lru" || s.MaxBytes != 64<<20 {
		t.Errorf("the state is %+v, want the settings that the server was started with", s)
	}
	srv.Kill()
	away := redis.NewClient(&redis.Options{Addr: srv.Addr, MaxRetries: -1})
	defer func() { _ = away.Close() }()
	if _, err := store.InspectRedis(t.Context(), away); err == nil {
		t.Error("a server that is away can be inspected")
	}
}

func TestInspectPostgres(t *testing.T) {
	dsn := pgtest.Database(t)
	before, err := store.InspectPostgres(t.Context(), dsn)
	if err != nil || before.Schema != 0 || before.SchemaKnown == 0 || before.Isolation != "read committed" || before.Fsync || before.Replica {
		t.Errorf("before its first use: %+v, %v", before, err)
	}
	p, err := store.OpenPostgres(t.Context(), dsn, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	p.Close()
	after, err := store.InspectPostgres(t.Context(), dsn)
	if err != nil || after.Schema != after.SchemaKnown || after.Expired != 0 {
		t.Errorf("after the migrations: %+v, %v", after, err)
	}
	if _, err := store.InspectPostgres(t.Context(), "mysql://planted"); !errors.Is(err, store.ErrDSN) {
		t.Errorf("InspectPostgres of no DSN = %v, want ErrDSN", err)
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := store.InspectPostgres(canceled, dsn); err == nil || strings.Contains(err.Error(), "cloudidq@") {
		t.Errorf("InspectPostgres = %v, want an error without the DSN", err)
	}
}
