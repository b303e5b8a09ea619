package store

import (
	"context"
	_ "embed" // the scripts
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// personLua stands before the scripts that make something a person's.
//
//go:embed person.lua
var personLua string

// whoseLua stands before those of claims and saves, behind personLua.
//
//go:embed whose.lua
var whoseLua string

//go:embed claim.lua
var claimLua string

//go:embed save.lua
var saveLua string

// dropLua removes one value whose JSON nobody can read, unless it has been replaced meanwhile.
const dropLua = `
if string.sub(redis.call('GET', KEYS[1]) or '', 31) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0`

// errAnswer is an answer that the scripts of this package do not give.
var errAnswer = errors.New("unexpected answer from Redis")

// Redis keeps records in Redis: a single server, Sentinel or Cluster. keys.go has its layout.
//
// Claims and erasures are moments of the server's clock, which the scripts read. Each script may be repeated without harm,
// so the client's own retries after a lost connection are welcome.
type Redis struct {
	rdb   redis.Cmdable
	codec codec
	ttl   string // in milliseconds
	claim *redis.Script
	save  *redis.Script
	erase *redis.Script
	drop  *redis.Script

	announced sync.Map // appids that outboxApps is known to hold
}

var _ Results = (*Redis)(nil)

// NewRedis returns a store whose records end after ttl, which must be a millisecond or more: Redis refuses to write
// with less. The caller owns rdb and closes it.
func NewRedis(rdb redis.Cmdable, ttl time.Duration, options ...Option) *Redis {
	var with settings
	for _, option := range options {
		option(&with)
	}
	return &Redis{
		rdb:   rdb,
		codec: codec{with.keyset},
		ttl:   strconv.FormatInt(ttl.Milliseconds(), 10),
		claim: redis.NewScript(personLua + whoseLua + claimLua),
		save:  redis.NewScript(personLua + whoseLua + saveLua),
		erase: redis.NewScript(eraseLua),
		drop:  redis.NewScript(dropLua),
	}
}

// Claim implements [Results].
func (r *Redis) Claim(ctx context.Context, c Claim) ([]ClaimResult, error) {
	if len(c.Records) == 0 {
		return nil, nil
	}
	results := make([]ClaimResult, len(c.Records))
	if err := r.claimAll(ctx, c, results); err != nil {
		return nil, fmt.Errorf("claiming %d records: %w", len(c.Records), err)
	}
	return results, nil
}

// claimAll claims c's records and puts what it hears into results.
func (r *Redis) claimAll(ctx context.Context, c Claim, results []ClaimResult) error {
	if err := c.check(); err != nil {
		return err
	}
	ks := recordKeys(c.AppID, c.Records)
	persons := r.personKeys(c.Records, ks)
	me := owner(c.TaskID)
	values, err := r.codec.encode(c.Records, me, marks(persons))
	if err != nil {
		return err
	}
	args := append(make([]any, 0, 4+2*len(values)), me, c.For.Milliseconds(), r.ttl, personMargin.Milliseconds())
	for i, v := range values {
		args = append(args, v[headerLen:], milli(c.Records[i].AcceptedAt))
	}

	answers, err := r.claim.Run(ctx, r.rdb, append(ks, persons...), args...).Slice()
	if err != nil {
		return err
	}
	if len(answers) != len(results) {
		return errAnswer
	}
	for i, answer := range answers {
		var ok bool
		if results[i], ok = r.claimResult(answer, &c.Records[i]); ok {
			continue
		}
		if results[i], err = r.reclaim(ctx, c, i, ks[i], answer); err != nil {
			return err
		}
	}
	return nil
}

// claimResult reads the script's answer for rec. It reports false for a record that is none.
func (r *Redis) claimResult(answer any, rec *Record) (ClaimResult, bool) {
	switch a := answer.(type) {
	case int64:
		switch a {
		case 0:
			return ClaimResult{State: Claimed, Record: *rec}, true
		case 1:
			return ClaimResult{State: Busy}, true
		default:
			return ClaimResult{State: Erased}, true
		}
	case string:
		state := Claimed
		if strings.HasPrefix(a, "d") {
			state = Done
		}
		stored, err := r.codec.decode(a[min(1, len(a)):], rec.AppID, rec.CloudID)
		if errors.Is(err, ErrUnreadable) {
			stored, err = unreadable(a[1], rec), nil
		}
		return ClaimResult{State: state, Record: stored}, err == nil
	}
	return ClaimResult{}, false
}

// unreadable is what is known of a record that is sealed under another keyset, as beside a process that has a newer one:
// its rank. The claim holds all the same.
func unreadable(rank byte, rec *Record) Record {
	known := *rec
	switch rank {
	case rankResolved:
		known.Status = Resolved
	case rankFailed:
		known.Status = Failed
	}
	return known
}

// reclaim claims record i again after its value turned out to have a sound header above a broken body: it drops the
// value first, so that the record counts as missing. Nothing but a foreign hand in Redis leads here.
func (r *Redis) reclaim(ctx context.Context, c Claim, i int, key string, answer any) (ClaimResult, error) {
	a, _ := answer.(string)
	if len(a) < 1+headerLen {
		return ClaimResult{}, errAnswer
	}
	if err := r.drop.Run(ctx, r.rdb, []string{key}, a[1+headerLen:]).Err(); err != nil {
		return ClaimResult{}, err
	}
	c.Records = c.Records[i : i+1]
	var result [1]ClaimResult
	if err := r.claimAll(ctx, c, result[:]); err != nil {
		return ClaimResult{}, err
	}
	return result[0], nil
}

// Lookup implements [Results].
func (r *Redis) Lookup(ctx context.Context, appID string, cloudIDs []string) ([]Record, error) {
	if len(cloudIDs) == 0 {
		return nil, nil
	}
	ks := keys(appID, len(cloudIDs), func(i int) string { return cloudIDs[i] })
	values, err := r.rdb.MGet(ctx, ks...).Result()
	if err == nil && len(values) != len(cloudIDs) {
		err = errAnswer
	}
	if err != nil {
		return nil, fmt.Errorf("looking up %d records: %w", len(cloudIDs), err)
	}
	records, sealed := make([]Record, len(cloudIDs)), 0
	for i, v := range values {
		if value, ok := v.(string); ok {
			if records[i], err = r.codec.decode(value, appID, cloudIDs[i]); errors.Is(err, ErrUnreadable) {
				sealed++
			}
		}
	}
	if sealed > 0 {
		return records, fmt.Errorf("reading %d of %d records: %w", sealed, len(records), ErrUnreadable)
	}
	return records, nil
}

// recordKeys returns the key of each record of one app.
func recordKeys(appID string, records []Record) []string {
	return keys(appID, len(records), func(i int) string { return records[i].CloudID })
}
