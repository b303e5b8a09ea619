package store

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// relayEvery is how often a process looks for ends that another one, now dead, has saved and not handed over.
	relayEvery = 2 * time.Second
	relayBatch = 1000
	// relayLinger is how long the ends of a save wait for those of others: a transaction for each save would cost more than
	// what is in it.
	relayLinger = 5 * time.Millisecond
	// relayAgain is how long a process waits after a failure, when ends come on.
	relayAgain = 100 * time.Millisecond
)

// owedSQL takes ends out of the outbox here; what another process has in hand is left to it.
const owedSQL = `WITH gone AS (
	DELETE FROM cloudidq_outbox WHERE id = ANY (ARRAY(
		SELECT id FROM cloudidq_outbox WHERE expires_at > now() ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED))
	RETURNING id, app, cloud, person, accepted, endpoint, item, expires_at
) SELECT * FROM gone ORDER BY id`

// beginOwed begins a transaction. A plan that was made while the outbox was empty would read all of it.
var beginOwed = pgx.TxOptions{BeginQuery: "BEGIN; SET LOCAL enable_seqscan = off"}

// owed is a row of the outbox.
type owed struct {
	ID       int64
	App      []byte
	Cloud    []byte
	Person   []byte
	Accepted int64
	Endpoint string
	Item     []byte
	Expires  time.Time // DeliverFor after its save
}

// Handed is told how many results of an app have come into the outbox of an endpoint.
type Handed func(appID, endpoint string, results int)

// announce notes that apps have deliveries, before there is the first.
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

// wakeRelay lets Run hand over what Save has left in the outbox, if there was anything. The save does not wait for that: it
// might be the turn of others first.
func (p *Postgres) wakeRelay(records []Record) {
	for i := range records {
		if p.outbox != nil && records[i].Deliver.Endpoint != "" && records[i].Status.Final() {
			select {
			case p.owes <- struct{}{}:
			default: // it is awake
			}
			return
		}
	}
}

// runRelay hands over what waits until ctx ends. However many saves wake it meanwhile, the next look finds the ends of all
// of them.
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

// wait lets time pass, unless ctx ends.
func wait(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// HandOver brings all that is to be delivered into the outbox in Redis, also what Run has in hand: a process that stops
// calls it behind its last save. handed is that of Run.
func (p *Postgres) HandOver(ctx context.Context, handed Handed) error { return p.relay(ctx, handed) }

// relay moves ends from the outbox here to the one in Redis. The rows are deleted after Redis has them; one that comes a
// second time, because of a crash between, Redis knows by its id.
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
		if len(rows) < relayBatch {
			return nil
		}
	}
}

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
		return p.outbox.append(ctx, rows)
	})
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	_ = p.outbox.appended(ctx, rows) // numbers that nobody will ask for
	return rows, nil
}

// tell says what has been handed over of the apps that this process knows. The others' has waited already, and is found
// by a sweep.
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
