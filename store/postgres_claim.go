package store

import (
	"context"
	"errors"
	"fmt"
)

// The answers of cloudidq_claim for one record.
const (
	answerClaimed = iota // stored as sent
	answerBusy
	answerErased
	answerClaimedAsWas // with the record that existed
	answerDone
)

const claimSQL = "SELECT o_state, o_rank, o_body FROM cloudidq_claim($1, $2, $3, $4::bigint, $5, $6, $7, $8, $9)"

// dropSQL removes one record whose body cannot be read, unless the record has been replaced
// meanwhile.
const dropSQL = "DELETE FROM cloudidq_records WHERE app = $1 AND cloud = $2 AND body = $3"

// claimAnswer is one row of the answer of cloudidq_claim.
type claimAnswer struct {
	state int
	rank  int16
	body  []byte
}

// Claim implements [Results].
func (p *Postgres) Claim(ctx context.Context, c Claim) ([]ClaimResult, error) {
	if len(c.Records) == 0 {
		return nil, nil
	}
	results := make([]ClaimResult, len(c.Records))
	if err := p.within(ctx, func(ctx context.Context) error { return p.claimAll(ctx, c, results) }); err != nil {
		return nil, fmt.Errorf("claiming %d records: %w", len(c.Records), plain(err))
	}
	return results, nil
}

// claimAll claims c's records and stores the answers in results.
func (p *Postgres) claimAll(ctx context.Context, c Claim, results []ClaimResult) error {
	if err := c.check(); err != nil {
		return err
	}
	rows, err := p.rowsOf(c.Records, c.TaskID)
	if err != nil {
		return err
	}
	answers, err := p.claim(ctx, c, rows)
	if err != nil {
		return err
	}
	if len(answers) != len(results) {
		return errPostgres
	}
	for i, answer := range answers {
		var ok bool
		// Only a broken body needs a second claim.
		if results[i], ok = p.claimResult(answer, &c.Records[i]); ok {
			continue
		}
		if results[i], err = p.reclaim(ctx, c, i, rows.clouds[i], answer.body); err != nil {
			return err
		}
	}
	return nil
}

// claim runs cloudidq_claim for the rows of one app.
func (p *Postgres) claim(ctx context.Context, c Claim, r rows) ([]claimAnswer, error) {
	me := ownerHash(c.TaskID)
	found, err := p.pool.Query(ctx, claimSQL, r.locks.sorted(), r.apps[0], me[:],
		c.For.Milliseconds(), p.ttl, r.clouds, r.users, r.accepted, r.bodies)
	if err != nil {
		return nil, err
	}
	defer found.Close()
	answers := make([]claimAnswer, 0, len(r.clouds))
	for found.Next() {
		var a claimAnswer
		if err := found.Scan(&a.state, &a.rank, &a.body); err != nil {
			return nil, err
		}
		answers = append(answers, a)
	}
	return answers, found.Err()
}

// claimResult converts the answer for rec. It returns false if the stored record is broken.
func (p *Postgres) claimResult(a claimAnswer, rec *Record) (ClaimResult, bool) {
	state := Claimed
	switch a.state {
	case answerClaimed:
		return ClaimResult{State: Claimed, Record: *rec}, true
	case answerBusy:
		return ClaimResult{State: Busy}, true
	case answerErased:
		return ClaimResult{State: Erased}, true
	case answerDone:
		state = Done
	}
	stored, err := p.codec.decodeBody(rankByte(a.rank), a.body, rec.AppID, rec.CloudID)
	// A body under an unknown key is not broken: the claim holds, and its rank is known.
	if errors.Is(err, ErrUnreadable) {
		stored, err = unreadable(rankByte(a.rank), rec), nil
	}
	return ClaimResult{State: state, Record: stored}, err == nil
}

// reclaim claims record i again after its body turned out to be broken. It drops the row first,
// so the record counts as missing. This happens only if the database was modified externally.
func (p *Postgres) reclaim(ctx context.Context, c Claim, i int, cloud, body []byte) (ClaimResult, error) {
	app := appHash(c.AppID)
	if _, err := p.pool.Exec(ctx, dropSQL, app[:], cloud, body); err != nil {
		return ClaimResult{}, err
	}
	c.Records = c.Records[i : i+1]
	var result [1]ClaimResult
	if err := p.claimAll(ctx, c, result[:]); err != nil {
		return ClaimResult{}, err
	}
	return result[0], nil
}
