package store_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"cloudidq/internal/pgtest"
	"cloudidq/store"
)

// Sweep deletes all expired rows, in several batches if need be, and no others.
func TestPostgres_Sweep_DeletesOnlyExpiredRows(t *testing.T) {
	dsn := pgtest.Database(t)
	short, long := openPostgres(t, dsn, time.Millisecond), openPostgres(t, dsn, time.Hour)
	const expired = 2500 // more than two batches
	for at := 0; at < expired; at += 500 {
		var records []store.Record
		for i := range 500 {
			rec := full()
			rec.CloudID = fmt.Sprint(at + i)
			records = append(records, rec)
		}
		if err := short.Save(t.Context(), "task", records); err != nil {
			t.Fatal(err)
		}
	}
	stays := full()
	stays.AppID, stays.OpenID = "wx-stays", "o-stays"
	if err := long.Save(t.Context(), "task", []store.Record{stays}); err != nil {
		t.Fatal(err)
	}
	for user, p := range map[string]*store.Postgres{"o-1": short, "o-2": long} {
		if _, err := p.Erase(t.Context(), "wx-persons", user); err != nil {
			t.Fatal(err)
		}
	}
	conn := connect(t, dsn)
	// The store with the short TTL also remembers erased users for a margin.
	execute(t, conn, "UPDATE cloudidq_persons SET expires_at = now() WHERE expires_at < now() + interval '30 min'")
	n, err := long.Sweep(t.Context())
	if err != nil || n != expired+1 {
		t.Errorf("Sweep = %d, %v, want %d", n, err, expired+1)
	}
	for table, want := range map[string]int{"cloudidq_records": 1, "cloudidq_persons": 1} {
		if got := count(t, conn, table); got != want {
			t.Errorf("%d rows in %s, want %d", got, table, want)
		}
	}
	if n, err := long.Sweep(t.Context()); n != 0 || err != nil {
		t.Errorf("Sweep again = %d, %v, want nothing", n, err)
	}
}

// Run deletes an expired record by itself, and returns nil when its context ends.
func TestPostgres_Run_SweepsUntilItsContextIsCanceled(t *testing.T) {
	dsn := pgtest.Database(t)
	p := openPostgres(t, dsn, time.Millisecond)
	if err := p.Save(t.Context(), "task", []store.Record{full()}); err != nil {
		t.Fatal(err)
	}
	conn := connect(t, dsn)
	eventually(t, "the record has expired", func() bool {
		return count(t, conn, "cloudidq_records WHERE expires_at <= now()") == 1
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- p.Run(ctx, slog.New(slog.DiscardHandler), nil) }()
	eventually(t, "the record is gone", func() bool { return count(t, conn, "cloudidq_records") == 0 })
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
}

// Run logs a failed sweep and continues.
func TestPostgres_Run_LogsASweepThatFails(t *testing.T) {
	dsn := pgtest.Database(t)
	p := openPostgres(t, dsn, time.Hour)
	execute(t, connect(t, dsn), "DROP FUNCTION cloudidq_sweep")
	ctx, cancel := context.WithCancel(t.Context())
	logged := make(chan string, 1)
	err := p.Run(ctx, slog.New(slog.NewTextHandler(writer(func(line []byte) {
		logged <- string(line)
		cancel()
	}), nil)), nil)
	if line := <-logged; err != nil || !strings.Contains(line, "SQLSTATE 42883") {
		t.Errorf("Run = %v and logged %q, want the server's code", err, line)
	}
}

// writer is a function that receives the written bytes.
type writer func([]byte)

func (w writer) Write(p []byte) (int, error) { w(bytes.Clone(p)); return len(p), nil }
