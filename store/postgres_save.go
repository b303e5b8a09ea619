package store

import (
	"context"
	"fmt"
)

const saveSQL = "SELECT cloudidq_save($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)"

// Save implements [Results]. Records of several apps go in one statement too, so Save writes
// all of them or none.
func (p *Postgres) Save(ctx context.Context, taskID string, records []Record) error {
	if len(records) == 0 {
		return nil
	}
	// Announce first: after a crash, other processes then find the results of this save.
	if err := p.announce(ctx, records); err != nil {
		return err
	}
	err := p.within(ctx, func(ctx context.Context) error {
		_, err := p.save(ctx, taskID, records)
		return err
	})
	if err != nil {
		return fmt.Errorf("saving %d records: %w", len(records), plain(err))
	}
	p.wakeRelay(records)
	return nil
}

// save returns, for each record, whether it was written.
func (p *Postgres) save(ctx context.Context, taskID string, records []Record) ([]bool, error) {
	r, err := p.rowsOf(records, taskID)
	if err != nil {
		return nil, err
	}
	me := ownerHash(taskID)
	var written []bool
	err = p.pool.QueryRow(ctx, saveSQL, r.locks.sorted(), me[:], p.ttl,
		r.apps, r.clouds, r.users, r.accepted, r.ranks, r.bodies, deliverFor, r.endpoints, r.items).Scan(&written)
	if err != nil {
		return nil, err
	}
	if len(written) != len(records) {
		return nil, errPostgres
	}
	return written, nil
}

// rows holds records as the functions of the schema take them, one column per field.
type rows struct {
	locks    locks
	apps     [][]byte
	clouds   [][]byte
	users    [][]byte // nil = no user
	accepted []int64
	ranks    []int16
	bodies   [][]byte

	endpoints []string // empty = no delivery
	items     [][]byte
}

// rowsOf encodes records before anything is sent, so that a faulty record fails the whole call.
func (p *Postgres) rowsOf(records []Record, taskID string) (rows, error) {
	// A row has columns for the owner and the user, so only the body of each form is used.
	values, err := p.codec.encode(records, owner(taskID), nil)
	if err != nil {
		return rows{}, err
	}
	n := len(records)
	r := rows{
		locks: locks{}, apps: make([][]byte, n), clouds: make([][]byte, n), users: make([][]byte, n),
		accepted: make([]int64, n), ranks: make([]int16, n), bodies: make([][]byte, n),
		endpoints: make([]string, n), items: make([][]byte, n),
	}
	var id []byte // the appid and a NUL; cloudHash writes behind them
	for i := range records {
		rec := &records[i]
		app := appHash(rec.AppID)
		id = append(append(id[:0], rec.AppID...), 0)
		cloud := cloudHash(id, rec.CloudID)
		if rec.OpenID != "" {
			user := p.codec.userHash(rec.AppID, rec.OpenID)
			r.users[i] = user[:]
			r.locks.add(app, user[:])
		}
		r.apps[i], r.clouds[i], r.bodies[i] = app[:], cloud[:], values[i][headerLen:]
		r.accepted[i], r.ranks[i] = milli(rec.AcceptedAt), rankNumber(rec.Status)
		// Without an outbox or an endpoint the record is not delivered.
		if p.outbox == nil || rec.Deliver.Endpoint == "" {
			continue
		}
		r.endpoints[i] = rec.Deliver.Endpoint
		if r.items[i], err = p.codec.item(rec, cloudPart(cloud[:])); err != nil {
			return rows{}, err
		}
	}
	return r, nil
}
