package store_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"cloudidq/internal/pgtest"
	"cloudidq/store"
)

// While a user is erased, other calls write records that were accepted before. After the
// erasure none of them exists.
func TestPostgres_EraseDuringWrites_NothingRemains(t *testing.T) {
	t.Parallel()
	p := openPostgres(t, pgtest.Database(t), time.Hour)
	for round := range 20 {
		app := fmt.Sprint("wx", round)
		var ids []string
		var group errgroup.Group
		for n := range 6 {
			var mine []store.Record
			for i := range 10 {
				rec := full()
				rec.AppID, rec.OpenID, rec.CloudID = app, "o-1", fmt.Sprint(n, "-", i)
				ids, mine = append(ids, rec.CloudID), append(mine, rec)
			}
			group.Go(func() error {
				if n%2 == 0 {
					return p.Save(t.Context(), "task", mine)
				}
				for i := range mine {
					mine[i].Status = store.Pending
				}
				_, err := p.Claim(t.Context(), claimOf("task", mine...))
				return err
			})
		}
		group.Go(func() error { _, err := p.Erase(t.Context(), app, "o-1"); return err })
		if err := group.Wait(); err != nil {
			t.Fatal(err)
		}
		got, err := p.Lookup(t.Context(), app, ids)
		if err != nil {
			t.Fatal(err)
		}
		for _, rec := range got {
			if rec.Status != "" {
				t.Fatalf("round %d: %s is %s after its user's erasure", round, rec.CloudID, rec.Status)
			}
		}
	}
}

// Calls of every kind, each with its records in its own order, never wait for each other in a
// circle. PostgreSQL would cancel one of them with the error 40P01.
func TestPostgres_AllAtOnce_NoDeadlock(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	long, short := openPostgres(t, dsn, time.Hour), openPostgres(t, dsn, 5*time.Millisecond)
	batch := func(rnd *rand.Rand) []store.Record {
		records := make([]store.Record, 0, 40)
		for _, i := range rnd.Perm(60)[:40] {
			rec := full()
			rec.AppID, rec.CloudID, rec.OpenID = fmt.Sprint("wx", i%3), fmt.Sprint(i), fmt.Sprint("o-", rnd.IntN(7)) // the user changes from call to call
			rec.AcceptedAt = store.At(time.Now())
			rec.Status = []store.Status{store.Pending, store.Failed, store.Resolved}[rnd.IntN(3)]
			records = append(records, rec)
		}
		return records
	}
	var group errgroup.Group
	for n := range 8 {
		rnd := rand.New(rand.NewPCG(uint64(n), 1))
		group.Go(func() error {
			for range 40 {
				p := []*store.Postgres{long, short}[rnd.IntN(2)]
				var err error
				switch records := batch(rnd); rnd.IntN(8) {
				case 0:
					_, err = p.Erase(t.Context(), records[0].AppID, records[0].OpenID)
				case 1:
					_, err = p.Sweep(t.Context())
				case 2, 3, 4:
					err = p.Save(t.Context(), fmt.Sprint("task", n), records)
				default:
					var mine []store.Record
					for _, rec := range records {
						if rec.AppID == records[0].AppID {
							rec.Status = store.Pending
							mine = append(mine, rec)
						}
					}
					_, err = p.Claim(t.Context(), claimOf(fmt.Sprint("task", n), mine...))
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
}

// A connection that planned its statements while the table was empty still reads rows by key
// when the table is full.
func TestPostgres_TableGrows_RowsAreStillFoundByKey(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	p, err := store.OpenPostgres(t.Context(), dsn+"&pool_max_conns=1", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	var serial atomic.Int64
	const batches, size = 40, 100
	for range batches {
		pending, resolved := benchBatch(&serial, size)
		ids := make([]string, size)
		for i := range pending {
			ids[i] = pending[i].CloudID
		}
		_, claimErr := p.Claim(t.Context(), claimOf("task", pending...))
		saveErr := p.Save(t.Context(), "task", resolved)
		_, lookupErr := p.Lookup(t.Context(), pending[0].AppID, ids)
		if err := errors.Join(claimErr, saveErr, lookupErr); err != nil {
			t.Fatal(err)
		}
	}
	p.Close() // the connection writes its counters when it closes
	conn := connect(t, dsn)
	var read, scans int
	eventually(t, "the counters are there", func() bool {
		err := conn.QueryRow(t.Context(), "SELECT (SELECT sum(idx_tup_read) FROM pg_stat_user_indexes),"+
			" (SELECT sum(seq_tup_read) FROM pg_stat_user_tables WHERE relname = 'cloudidq_records')").Scan(&read, &scans)
		if err != nil {
			t.Fatal(err)
		}
		return read > 0
	})
	if most := 15 * batches * size; read > most || scans > most {
		t.Errorf("%d entries read in indexes, %d rows otherwise, want at most %d", read, scans, most)
	}
}
