package store

import (
	"context"
	"fmt"
)

const eraseSQL = "SELECT o_erased, o_moment FROM cloudidq_erase($1::bigint[], $2, $3::bytea[], $4, $5)"

// Erase implements [Results]. The erased data stays in the server's files until vacuum has run
// and the write-ahead log has been recycled. Where records are sealed, it is unreadable there.
func (p *Postgres) Erase(ctx context.Context, appID, openID string) (int, error) {
	app, who := appHash(appID), locks{}
	hashes := p.codec.userHashes(appID, openID)
	users := make([][]byte, len(hashes))
	for i := range hashes {
		users[i] = hashes[i][:]
		who.add(app, users[i])
	}
	// The server returns the time of the erasure, which the outbox in Redis needs as well.
	var erased int
	var moment int64
	err := p.within(ctx, func(ctx context.Context) error {
		return p.pool.QueryRow(ctx, eraseSQL, who.sorted(), app[:], users, p.ttl, p.ttl+userMargin).Scan(&erased, &moment)
	})
	if err != nil {
		return 0, fmt.Errorf("erasing a user's records: %w", plain(err))
	}
	if p.outbox == nil {
		return erased, nil
	}
	// Redis comes after PostgreSQL, so that no result arrives later: PostgreSQL never relays
	// what it has not relayed by now.
	return erased, p.outbox.erase(ctx, appID, openID, moment)
}
