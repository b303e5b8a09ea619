package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// relayEvery is how often a process looks for ends that another one, now dead, has saved and not handed over.
	relayEvery = 2 * time.Second
	relayBatch = 1000
)

const (
	owedSQL = `SELECT id, app, cloud, person, accepted, endpoint, item FROM cloudidq_outbox
WHERE expires_at > now() ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED`
	handedSQL = "DELETE FROM cloudidq_outbox WHERE id = ANY ($1)"
)

// owed is a row of the outbox.
type owed struct {
	ID       int64
	App      []byte
	Cloud    []byte
	Person   []byte
	Accepted int64
	Endpoint string
	Item     []byte
}

// announce notes that apps have deliveries, before there is the first.
func (p *Postgres) announce(ctx context.Context, records []Record) error {
	if p.outbox == nil {
		return nil
	}
	return announce(ctx, p.outbox.rdb, &p.announced, records)
}

// handOver gives Redis what Save has left in the outbox, if there was anything. Where that fails, Run does it later.
func (p *Postgres) handOver(ctx context.Context, records []Record) {
	for i := range records {
		if p.outbox != nil && records[i].Deliver.Endpoint != "" && records[i].Status.Final() {
			_ = p.relay(ctx) // what fails stays in the table, and Run says so
			return
		}
	}
}

// relay moves ends from the outbox here to the one in Redis. The rows are deleted after Redis has them; one that comes a
// second time, because of a crash between, Redis knows by its id.
func (p *Postgres) relay(ctx context.Context) error {
	for {
		var n int
		err := p.within(ctx, func(ctx context.Context) (err error) { n, err = p.relayBatch(ctx); return err })
		if err != nil {
			return fmt.Errorf("handing over what is to be delivered: %w", plain(err))
		}
		if n < relayBatch {
			return nil
		}
	}
}

func (p *Postgres) relayBatch(ctx context.Context) (n int, err error) {
	if p.outbox == nil {
		return 0, nil
	}
	err = pgx.BeginFunc(ctx, p.pool, func(tx pgx.Tx) error {
		found, err := tx.Query(ctx, owedSQL, relayBatch)
		if err != nil {
			return err
		}
		rows, err := pgx.CollectRows(found, pgx.RowToStructByPos[owed])
		if n = len(rows); err != nil || n == 0 {
			return err
		}
		if err := p.outbox.append(ctx, rows); err != nil {
			return err
		}
		ids := make([]int64, n)
		for i := range rows {
			ids[i] = rows[i].ID
		}
		_, err = tx.Exec(ctx, handedSQL, ids)
		return err
	})
	return n, err
}
