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

// unrelayedSQL deletes rows from PostgreSQL's outbox and returns them. It skips rows that another
// process is relaying.
const unrelayedSQL = `WITH gone AS (
	DELETE FROM cloudidq_outbox WHERE id = ANY (ARRAY(
		SELECT id FROM cloudidq_outbox WHERE expires_at > now() ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED))
	RETURNING id, app, cloud, person, accepted, endpoint, item, expires_at
) SELECT * FROM gone ORDER BY id`

// beginRelay begins a transaction without sequential scans. A plan that was made while the
// outbox was empty would otherwise read the whole table.
var beginRelay = pgx.TxOptions{BeginQuery: "BEGIN; SET LOCAL enable_seqscan = off"}

// unrelayed is a row of PostgreSQL's outbox: an unrelayed result.
type unrelayed struct {
	ID       int64
	App      []byte
	Cloud    []byte
	User     []byte
	Accepted int64
	Endpoint string
	Item     []byte
	Expires  time.Time // deliverFor after the save
}

// Relayed is called with the number of results of an app that have been relayed to the outbox of
// an endpoint.
type Relayed func(appID, endpoint string, results int)

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
			case p.saved <- struct{}{}:
			default: // Run has been woken already
			}
			return
		}
	}
}

// runRelay relays waiting results until ctx ends. If several saves wake it during a pass, the
// next pass finds the results of all of them.
func (p *Postgres) runRelay(ctx context.Context, log *slog.Logger, relayed Relayed) {
	tick := time.NewTicker(relayEvery)
	defer tick.Stop()
	for {
		select {
		case <-p.saved:
			wait(ctx, relayLinger)
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if err := p.Relay(ctx, relayed); err != nil && ctx.Err() == nil {
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

// Relay moves all waiting results from PostgreSQL's outbox to the outbox in Redis. If Run is
// relaying, Relay waits for that first. A process that stops calls Relay after its last save.
// relayed is as in [Postgres.Run].
//
// It deletes a row only after Redis has the result. After a crash in between, the row is relayed
// again, and Redis recognizes it by its id.
func (p *Postgres) Relay(ctx context.Context, relayed Relayed) error {
	if p.outbox == nil {
		return nil
	}
	select {
	case p.relaying <- struct{}{}:
		defer func() { <-p.relaying }()
	case <-ctx.Done():
		return fmt.Errorf("relaying results: %w", ctx.Err())
	}
	for {
		var rows []unrelayed
		err := p.within(ctx, func(ctx context.Context) (err error) {
			rows, err = p.relayBatch(ctx)
			return err
		})
		if err != nil {
			return fmt.Errorf("relaying results: %w", plain(err))
		}
		p.report(relayed, rows)
		// A batch that is not full was the last one.
		if len(rows) < relayBatch {
			return nil
		}
	}
}

// relayBatch moves one batch of rows in one transaction, and returns them.
func (p *Postgres) relayBatch(ctx context.Context) (rows []unrelayed, err error) {
	err = pgx.BeginTxFunc(ctx, p.pool, beginRelay, func(tx pgx.Tx) error {
		found, err := tx.Query(ctx, unrelayedSQL, relayBatch)
		if err != nil {
			return err
		}
		rows, err = pgx.CollectRows(found, pgx.RowToStructByPos[unrelayed])
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

// report calls relayed for the relayed results of apps that this process knows. Results of other
// apps have waited already; a sweep finds them.
func (p *Postgres) report(relayed Relayed, rows []unrelayed) {
	if relayed == nil {
		return
	}
	type outlet struct{ app, endpoint string }
	counts := make(map[outlet]int)
	for i := range rows {
		counts[outlet{string(rows[i].App), rows[i].Endpoint}]++
	}
	for to, n := range counts {
		if appID, known := p.appIDs.Load([appLen / 2]byte([]byte(to.app))); known {
			relayed(appID.(string), to.endpoint, n)
		}
	}
}
