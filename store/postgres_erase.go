package store

import (
	"context"
	"fmt"
	"time"
)

const eraseSQL = "SELECT cloudidq_erase($1, $2, $3, $4, $5, $6)"

// Erase implements [Results]. What was stored stays in the server's files, unreadable where records are sealed, until
// vacuum and the turnover of its log have come by.
func (p *Postgres) Erase(ctx context.Context, appID, openID string) (int, error) {
	app, person := appHash(appID), p.codec.personHash(appID, openID)
	var erased int
	err := p.within(ctx, func(ctx context.Context) error {
		return p.pool.QueryRow(ctx, eraseSQL, personLock(app, person[:]), app[:], person[:],
			time.Now().UnixMilli(), p.ttl, p.ttl+personMargin).Scan(&erased)
	})
	if err != nil {
		return 0, fmt.Errorf("erasing a person's records: %w", plain(err))
	}
	if p.outbox == nil {
		return erased, nil
	}
	// After the records, so that nothing comes after it: what has not been handed over by now never is.
	return erased, p.outbox.erase(ctx, appID, openID)
}
