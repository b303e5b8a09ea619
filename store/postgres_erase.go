package store

import (
	"context"
	"fmt"
)

const eraseSQL = "SELECT o_erased, o_moment FROM cloudidq_erase($1::bigint[], $2, $3::bytea[], $4, $5)"

// Erase implements [Results]. What was stored stays in the server's files, unreadable where records are sealed, until
// vacuum and the turnover of its log have come by.
func (p *Postgres) Erase(ctx context.Context, appID, openID string) (int, error) {
	app, who := appHash(appID), locks{}
	hashes := p.codec.personHashes(appID, openID)
	persons := make([][]byte, len(hashes))
	for i := range hashes {
		persons[i] = hashes[i][:]
		who.add(app, persons[i])
	}
	var erased int
	var moment int64
	err := p.within(ctx, func(ctx context.Context) error {
		return p.pool.QueryRow(ctx, eraseSQL, who.sorted(), app[:], persons, p.ttl, p.ttl+personMargin).Scan(&erased, &moment)
	})
	if err != nil {
		return 0, fmt.Errorf("erasing a person's records: %w", plain(err))
	}
	if p.outbox == nil {
		return erased, nil
	}
	// After the records, so that nothing comes after it: what has not been handed over by now never is.
	return erased, p.outbox.erase(ctx, appID, openID, moment)
}
