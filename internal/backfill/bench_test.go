package backfill_test

import (
	"context"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"cloudidq/internal/backfill"
	"cloudidq/internal/lines"
	"cloudidq/internal/redistest"
	"cloudidq/internal/seal"
	"cloudidq/tasks"
)

// generator is a file of n lines that is generated while it is read.
type generator struct {
	n, next int
	rest    []byte
}

func (g *generator) Read(into []byte) (int, error) {
	for len(g.rest) < len(into) && g.next < g.n {
		g.rest = fmt.Appendf(g.rest, `{"cloud_id":"73_%059d","openid":"o2axXWPau4mHCKPOKV%010d","obtained_at":"2026-11-22T08:00:00.000Z"}`+"\n", g.next, g.next)
		g.next++
	}
	if len(g.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(into, g.rest)
	g.rest = g.rest[:copy(g.rest, g.rest[n:])]
	return n, nil
}

// BenchmarkLoad measures loading sealed lines into a real Redis.
func BenchmarkLoad(b *testing.B) {
	const n = 200_000
	doc, err := seal.New()
	if err != nil {
		b.Fatal(err)
	}
	keyset, err := seal.ParseKeyset(doc)
	if err != nil {
		b.Fatal(err)
	}
	rdb := redistest.Start(b).Client(b)
	producer := tasks.NewClient(rdb, tasks.Options{})
	defer producer.Close()
	backfills := backfill.NewStore(rdb, time.Hour, keyset)
	loader := &backfill.Loader{Store: backfills, Producer: producer, Pressure: never{}}
	for b.Loop() {
		at, err := backfills.Create(b.Context(), backfill.Backfill{ID: backfill.NewID(), AppID: "wx1", Format: "ndjson"})
		if err != nil {
			b.Fatal(err)
		}
		got, err := loader.Load(b.Context(), at, lines.New(&generator{n: n}, lines.NDJSON), backfill.Options{})
		if err != nil || got.Accepted != n {
			b.Fatalf("Load = %+v, %v", got, err)
		}
		b.StopTimer()
		flush(b, rdb)
		b.StartTimer()
	}
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "lines/s")
}

func flush(tb testing.TB, rdb *redis.Client) {
	tb.Helper()
	if err := rdb.FlushAll(context.Background()).Err(); err != nil {
		tb.Fatal(err)
	}
}

type never struct{}

func (never) Room(context.Context, string) error { return nil }
