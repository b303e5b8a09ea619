package store

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"
)

const (
	sweepEvery = time.Minute // more or less, so that the processes spread
	sweepBatch = 1000        // rows of a table in one statement: some ten milliseconds
)

const sweepSQL = "SELECT cloudidq_sweep($1)"

// Run deletes what has expired, and hands over what is to be delivered, that of dead processes too, until ctx ends; then it
// returns nil. Any number of processes may do so: a row that one of them has in hand the others leave out. What fails is
// logged and made up for by the next time. handed is told of what has been handed over; it may be nil.
func (p *Postgres) Run(ctx context.Context, log *slog.Logger, handed Handed) error {
	var relay sync.WaitGroup
	defer relay.Wait()
	if p.outbox != nil {
		relay.Go(func() { p.runRelay(ctx, log, handed) })
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return nil
		}
		if _, err := p.Sweep(ctx); err != nil && ctx.Err() == nil {
			log.WarnContext(ctx, "expired records stay for now", "error", err)
		}
		timer.Reset(sweepEvery*9/10 + rand.N(sweepEvery/5))
	}
}

// Sweep deletes what has expired by now and returns how many rows there were, also when it fails midway. It goes in
// batches, each a statement of its own, so that it holds few locks and the server can clean up behind it.
func (p *Postgres) Sweep(ctx context.Context) (int, error) {
	for all := 0; ; {
		var deleted int
		err := p.within(ctx, func(ctx context.Context) error {
			return p.pool.QueryRow(ctx, sweepSQL, sweepBatch).Scan(&deleted)
		})
		if err != nil {
			return all, fmt.Errorf("deleting expired records: %w", plain(err))
		}
		all += deleted
		if deleted < sweepBatch {
			return all, nil
		}
	}
}
