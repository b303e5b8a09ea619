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
	sweepEvery = time.Minute // varied by a tenth, so that the processes spread
	sweepBatch = 1000        // rows per table in one statement, which takes some ten milliseconds
)

const sweepSQL = "SELECT cloudidq_sweep($1)"

// Run deletes expired rows until ctx ends, then returns nil. If the store has an outbox, Run
// also relays results to Redis, including those of dead processes. Any number of processes may
// call Run: each skips the rows that another one is working on. Run logs failures, and its next
// pass makes up for them. It calls relayed, which may be nil, with what it has relayed.
func (p *Postgres) Run(ctx context.Context, log *slog.Logger, relayed Relayed) error {
	var relay sync.WaitGroup
	defer relay.Wait()
	if p.outbox != nil {
		relay.Go(func() { p.runRelay(ctx, log, relayed) })
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return nil
		}
		if _, err := p.sweep(ctx); err != nil && ctx.Err() == nil {
			log.WarnContext(ctx, "expired records stay for now", "error", err)
		}
		timer.Reset(sweepEvery*9/10 + rand.N(sweepEvery/5))
	}
}

// sweep deletes the rows that have expired by now and returns how many there were, even if it
// fails midway. It works in batches, each in its own statement. So it holds few locks, and the
// server can clean up behind it.
func (p *Postgres) sweep(ctx context.Context) (int, error) {
	for all := 0; ; {
		var deleted int
		err := p.within(ctx, func(ctx context.Context) error {
			return p.pool.QueryRow(ctx, sweepSQL, sweepBatch).Scan(&deleted)
		})
		if err != nil {
			return all, fmt.Errorf("deleting expired records: %w", plain(err))
		}
		all += deleted
		// Fewer rows than a batch means that no table has a full batch left.
		if deleted < sweepBatch {
			return all, nil
		}
	}
}
