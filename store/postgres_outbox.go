package store

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// relayEvery is how often a process looks for results that another process, now dead, has
	// saved and not relayed.
	relayEvery = 2 * time.Second
	relayBatch = 1000 // rows of one transaction
	// relayLinger is how long the relay waits after a save, so that results of other saves join
	// its transaction. A transaction for each save would cost more than its content.
	relayLinger = 5 * time.Millisecond
	// relayAgain is how long a process waits after a failed relay, even if more results arrive.
	relayAgain = 100 * time.Millisecond
)

// owedSQL deletes rows from PostgreSQL's outbox and returns them. It skips rows that another
// process is relaying.
const owedSQL = `WITH gone AS (
	DELETE FROM cloudidq_outbox WHERE id = ANY (ARRAY(
		SELECT id FROM cloudidq_outbox WHERE expires_at > now() ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED))
	RETURNING id, app, cloud, person, accepted, endpoint, item, expires_at
) SELECT * FROM gone ORDER BY id`

// beginOwed begins a transaction without sequential scans. A plan that was made while the
// outbox was empty would otherwise read the whole table.
var beginOwed = pgx.TxOptions{BeginQuery: "BEGIN; SET LOCAL enable_seqscan = off"}

// owed is a row of PostgreSQL's outbox: an unrelayed result.
type owed struct {
	ID       int64
	App      []byte
	Cloud    []byte
	Person   []byte
	Accepted int64
	Endpoint string
	Item     []byte
	Expires  time.Time // DeliverFor after the save
}

// Handed is called with the number of results of an app that have been relayed to the outbox of
// an endpoint.
type Handed func(appID, endpoint string, results int)

// announce records that apps have deliveries, before the first delivery exists.
func (p *Postgres) announce(ctx context.Context, records []Record) error {
	if p.outbox == nil {
		return nil
	}
	if err := announce(ctx, p.outbox.rdb, &p.announced, records); err != nil {
		return err
	}
	for i := range records {
		if records[i].Deliver.Endpoint != "" {
			p.appIDs.Store(appHash(records[i].AppID), records[i].AppID)
		}
	}
	return nil
}

// wakeRelay wakes Run if Save has left results in the outbox. Save does not wait for the relay,
// because other results may come first.
func (p *Postgres) wakeRelay(records []Record) {
	for i := range records {
		if p.outbox != nil && records[i].Deliver.Endpoint != "" && records[i].Status.Final() {
			select {
			case p.owes <- struct{}{}:
			default: // Run has been woken already
			}
			return
		}
	}
}

// runRelay relays waiting results until ctx ends. If several saves wake it during a pass, the
// next pass finds the results of all of them.
func (p *Postgres) runRelay(ctx context.Context, log *slog.Logger, handed Handed) {
	tick := time.NewTicker(relayEvery)
	defer tick.Stop()
	for {
		select {
		case <-p.owes:
			wait(ctx, relayLinger)
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if err := p.relay(ctx, handed); err != nil && ctx.Err() == nil {
			log.WarnContext(ctx, "results wait in PostgreSQL for their delivery", "error", err)
			wait(ctx, relayAgain)
		}
	}
}

// wait waits for d, or until ctx ends.
func wait(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// HandOver relays all waiting results to the outbox in Redis. If Run is relaying, HandOver
// waits for that first. A process that stops calls HandOver after its last save. handed is as
// in [Postgres.Run].
func (p *Postgres) HandOver(ctx context.Context, handed Handed) error { return p.relay(ctx, handed) }

// relay moves results from PostgreSQL's outbox to the outbox in Redis. It deletes a row only
// after Redis has the result. After a crash in between, the row is relayed again, and Redis
// recognizes it by its id.
func (p *Postgres) relay(ctx context.Context, handed Handed) error {
	if p.outbox == nil {
		return nil
	}
	select {
	case p.relaying <- struct{}{}:
		defer func() { <-p.relaying }()
	case <-ctx.Done():
		return fmt.Errorf("handing over what is to be delivered: %w", ctx.Err())
	}
	for {
		var rows []owed
		err := p.within(ctx, func(ctx context.Context) (err error) {
			rows, err = p.relayBatch(ctx)
			return err
		})
		if err != nil {
			return fmt.Errorf("handing over what is to be delivered: %w", plain(err))
		}
		p.tell(handed, rows)
		// A batch that is not full was the last one.
		if len(rows) < relayBatch {
			return nil
		}
	}
}

// relayBatch moves one batch of rows in one transaction, and returns them.
func (p *Postgres) relayBatch(ctx context.Context) (rows []owed, err error) {
	err = pgx.BeginTxFunc(ctx, p.pool, beginOwed, func(tx pgx.Tx) error {
		found, err := tx.Query(ctx, owedSQL, relayBatch)
		if err != nil {
			return err
		}
		rows, err = pgx.CollectRows(found, pgx.RowToStructByPos[owed])
		if err != nil || len(rows) == 0 {
			return err
		}
		// Redis gets the results inside the transaction: if Redis fails, the rollback keeps the
		// rows.
		return p.outbox.append(ctx, rows)
	})
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	_ = p.outbox.appended(ctx, rows) // if this fails, the ids expire; they are not looked up again
	return rows, nil
}

// tell calls handed for the relayed results of apps that this process knows. Results of other
// apps have waited already; a sweep finds them.
func (p *Postgres) tell(handed Handed, rows []owed) {
	if handed == nil {
		return
	}
	type outlet struct{ app, endpoint string }
	counts := make(map[outlet]int)
	for i := range rows {
		counts[outlet{string(rows[i].App), rows[i].Endpoint}]++
	}
	for to, n := range counts {
		if appID, known := p.appIDs.Load([appLen / 2]byte([]byte(to.app))); known {
			handed(appID.(string), to.endpoint, n)
		}
	}
}
