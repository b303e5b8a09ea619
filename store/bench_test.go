package store_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"

	"cloudidq/internal/pgtest"
	"cloudidq/internal/redistest"
	"cloudidq/internal/seal/sealtest"
	"cloudidq/store"
)

var batchSizes = []int{1, 20, 100}

// benchBatch returns n pending records of new cloudIDs of one user, and the same records resolved,
// with some 500 bytes of JSON each.
func benchBatch(serial *atomic.Int64, n int) (pending, resolved []store.Record) {
	pending, resolved = make([]store.Record, n), make([]store.Record, n)
	now := store.At(time.Now())
	user := "o-" + strconv.FormatInt(serial.Load(), 10)
	for i := range n {
		rec := full()
		rec.OpenID = user
		rec.CloudID = "73_" + strconv.FormatInt(serial.Add(1), 10) + "_abcdefghijklmnopqrstuvwxyz0123456789"
		rec.Error, rec.AcceptedAt, rec.FinishedAt = nil, now, now
		rec.Data = benchData
		resolved[i] = rec
		rec.Status, rec.Data, rec.Kind, rec.FinishedAt = store.Pending, nil, "", store.Time{}
		pending[i] = rec
	}
	return pending, resolved
}

var benchData = json.RawMessage(`{"stepInfoList":[{"timestamp":1603641600,"step":1234},{"timestamp":1603728000,"step":4321},` +
	`{"timestamp":1603814400,"step":8000}],"watermark":{"appid":"wx1234567890abcdef","timestamp":1603641700}}`)

// BenchmarkRedis_ClaimSave claims and saves as a worker does, one batch after the other.
func BenchmarkRedis_ClaimSave(b *testing.B) {
	for _, n := range batchSizes {
		b.Run(fmt.Sprint("batch=", n), func(b *testing.B) {
			rdb := redistest.Start(b).Client(b)
			results := store.NewRedis(rdb, time.Hour)
			var serial atomic.Int64
			before := redisCPU(b, rdb)
			b.ReportAllocs()
			for b.Loop() {
				claimSave(b, results, &serial, n)
			}
			perRecord(b, n)
			b.ReportMetric((redisCPU(b, rdb)-before)*1e9/float64(b.N*n), "redis-ns/record")
		})
	}
}

// BenchmarkRedis_ClaimSaveParallel does the same from many goroutines and with a keyset.
func BenchmarkRedis_ClaimSaveParallel(b *testing.B) {
	for _, n := range batchSizes {
		b.Run(fmt.Sprint("batch=", n), func(b *testing.B) {
			keyset, _, _ := sealtest.Keysets(b)
			results := store.NewRedis(redistest.Start(b).Client(b), time.Hour, store.Sealed(keyset))
			var serial atomic.Int64
			b.ReportAllocs()
			b.SetParallelism(8)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					claimSave(b, results, &serial, n)
				}
			})
			perRecord(b, n)
		})
	}
}

// BenchmarkRedis_Lookup reads resolved records.
func BenchmarkRedis_Lookup(b *testing.B) {
	for _, n := range batchSizes {
		b.Run(fmt.Sprint("batch=", n), func(b *testing.B) {
			results := store.NewRedis(redistest.Start(b).Client(b), time.Hour)
			_, resolved := benchBatch(new(atomic.Int64), n)
			ids := make([]string, n)
			for i := range resolved {
				ids[i] = resolved[i].CloudID
			}
			if err := results.Save(b.Context(), "task", resolved); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := results.Lookup(b.Context(), "wx1", ids); err != nil {
					b.Fatal(err)
				}
			}
			perRecord(b, n)
		})
	}
}

func claimSave(b *testing.B, results store.Results, serial *atomic.Int64, n int) {
	pending, resolved := benchBatch(serial, n)
	c := store.Claim{AppID: "wx1", TaskID: "task", For: time.Minute, Records: pending}
	if _, err := results.Claim(b.Context(), c); err != nil {
		b.Error(err)
	}
	if err := results.Save(b.Context(), "task", resolved); err != nil {
		b.Error(err)
	}
}

// redisCPU returns the processor time that the server has used, in seconds. Unlike elapsed time, it
// does not depend on the load of the machine.
func redisCPU(b *testing.B, rdb *redis.Client) float64 {
	b.Helper()
	sum := 0.0
	for line := range strings.Lines(rdb.Info(b.Context(), "cpu").Val()) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		if name == "used_cpu_user" || name == "used_cpu_sys" {
			seconds, err := strconv.ParseFloat(value, 64)
			if err != nil {
				b.Fatal(err)
			}
			sum += seconds
		}
	}
	return sum
}

func perRecord(b *testing.B, n int) {
	records := float64(b.N) * float64(n)
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/records, "ns/record")
	b.ReportMetric(records/b.Elapsed().Seconds(), "records/s")
}

func BenchmarkEncode(b *testing.B) {
	_, resolved := benchBatch(new(atomic.Int64), 1)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := store.Encode("task", resolved[0]); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	_, resolved := benchBatch(new(atomic.Int64), 1)
	value, err := store.Encode("task", resolved[0])
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := store.Decode(string(value), "wx1", resolved[0].CloudID); !ok {
			b.Fatal("unknown")
		}
	}
}

// BenchmarkRedis_SaveSealed saves 100 results in one round trip, with a keyset.
func BenchmarkRedis_SaveSealed(b *testing.B) {
	keyset, _, _ := sealtest.Keysets(b)
	results := store.NewRedis(redistest.Start(b).Client(b), time.Hour, store.Sealed(keyset))
	var serial atomic.Int64
	b.ReportAllocs()
	for b.Loop() {
		_, resolved := benchBatch(&serial, 100)
		if err := results.Save(b.Context(), "task", resolved); err != nil {
			b.Fatal(err)
		}
	}
	perRecord(b, 100)
}

// BenchmarkPostgres_SaveSealed saves 100 results in one statement, with a keyset, on a server that
// syncs to disk.
func BenchmarkPostgres_SaveSealed(b *testing.B) {
	results := benchPostgres(b)
	var serial atomic.Int64
	b.ReportAllocs()
	for b.Loop() {
		_, resolved := benchBatch(&serial, 100)
		if err := results.Save(b.Context(), "task", resolved); err != nil {
			b.Fatal(err)
		}
	}
	perRecord(b, 100)
}

// BenchmarkPostgres_ClaimSave claims and saves as a worker does, from one goroutine and from several.
func BenchmarkPostgres_ClaimSave(b *testing.B) {
	b.Run("one", func(b *testing.B) {
		results := benchPostgres(b)
		var serial atomic.Int64
		for b.Loop() {
			claimSave(b, results, &serial, 100)
		}
		perRecord(b, 100)
	})
	b.Run("parallel", func(b *testing.B) {
		results := benchPostgres(b)
		var serial atomic.Int64
		b.SetParallelism(2)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				claimSave(b, results, &serial, 100)
			}
		})
		perRecord(b, 100)
	})
}

// benchPostgres returns a store with a keyset on its own server, as durable as one in production.
func benchPostgres(b *testing.B) *store.Postgres {
	b.Helper()
	keyset, _, _ := sealtest.Keysets(b)
	srv := pgtest.Start(b, "fsync=on", "synchronous_commit=on", "full_page_writes=on")
	return openPostgres(b, srv.Database(b), time.Hour, store.Sealed(keyset))
}

// BenchmarkPostgres_Relay relays 20,000 results at a time from PostgreSQL's outbox to Redis.
func BenchmarkPostgres_Relay(b *testing.B) {
	const n = 20_000
	p, dsn, rdb := benchOutbox(b)
	conn := connect(b, dsn)
	for b.Loop() {
		b.StopTimer()
		fillOutbox(b, conn, n)
		rdb.FlushDB(b.Context())
		b.StartTimer()
		if err := p.Relay(b.Context(), nil); err != nil {
			b.Fatal(err)
		}
	}
	perRecord(b, n)
}

// fillOutbox adds n results of many users of one app to the outbox, of 800 bytes each.
func fillOutbox(b *testing.B, conn *pgx.Conn, n int) {
	b.Helper()
	_, err := conn.Exec(b.Context(), `INSERT INTO cloudidq_outbox (app, cloud, person, accepted, endpoint, item, expires_at)
		SELECT '\x01020304', uuid_send(gen_random_uuid()), uuid_send(gen_random_uuid()), 0, 'orders',
			decode(repeat(md5(i::text), 50), 'hex'), now() + interval '1 day' FROM generate_series(1, $1) AS i`, n)
	if err != nil {
		b.Fatal(err)
	}
}

// BenchmarkPostgres_SaveAndRelay saves results to be delivered from 16 goroutines, and waits until
// Redis has every result.
func BenchmarkPostgres_SaveAndRelay(b *testing.B) {
	for _, n := range []int{10, 100} {
		b.Run(fmt.Sprint("batch=", n), func(b *testing.B) { benchSaveAndRelay(b, n) })
	}
}

func benchSaveAndRelay(b *testing.B, n int) {
	p, dsn, _ := benchOutbox(b)
	conn := connect(b, dsn)
	ctx, stop := context.WithCancel(b.Context())
	var run sync.WaitGroup
	run.Go(func() { _ = p.Run(ctx, slog.New(slog.DiscardHandler), nil) })
	defer run.Wait()
	defer stop()
	var serial atomic.Int64
	b.SetParallelism(8)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			_, resolved := benchBatch(&serial, n)
			for i := range resolved {
				resolved[i].Deliver = store.Outlet{Endpoint: "orders"}
			}
			if err := p.Save(b.Context(), "task", resolved); err != nil {
				b.Error(err)
			}
		}
	})
	for left := 1; left > 0; {
		if err := conn.QueryRow(b.Context(), "SELECT count(*) FROM cloudidq_outbox").Scan(&left); err != nil {
			b.Fatal(err)
		}
	}
	perRecord(b, n)
}

// benchOutbox returns a durable store with an outbox.
func benchOutbox(b *testing.B) (*store.Postgres, string, *redis.Client) {
	b.Helper()
	keyset, _, _ := sealtest.Keysets(b)
	dsn := pgtest.Start(b, "fsync=on", "synchronous_commit=on", "full_page_writes=on").Database(b)
	rdb := redistest.Start(b).Client(b)
	deliveries := store.NewDeliveries(rdb, store.Sealed(keyset))
	return openPostgres(b, dsn, time.Hour, store.Sealed(keyset), store.WithOutbox(deliveries)), dsn, rdb
}
