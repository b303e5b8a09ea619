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

// userLua precedes every script that assigns something to a user.
//
//go:embed user.lua
var userLua string

// whoseLua precedes the claim and save scripts, after userLua.
//
//go:embed whose.lua
var whoseLua string

//go:embed claim.lua
var claimLua string

//go:embed save.lua
var saveLua string

// dropLua removes one value whose JSON cannot be read, unless the value has been replaced
// meanwhile.
const dropLua = `
if string.sub(redis.call('GET', KEYS[1]) or '', 31) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0`

// errAnswer is returned for an answer that the scripts of this package never give.
var errAnswer = errors.New("unexpected answer from Redis")

// Redis stores records in Redis: a single server, Sentinel or Cluster. keys.go describes the
// layout.
//
// Claims and erasures use the server's clock, which the scripts read. Each script can safely
// run again, so the client may retry after a lost connection.
type Redis struct {
	rdb   redis.Cmdable
	codec codec
	ttl   string // in milliseconds
	claim *redis.Script
	save  *redis.Script
	erase *redis.Script
	drop  *redis.Script

	announced sync.Map // by app hash, when this process last announced the app; see announce
}

var _ Results = (*Redis)(nil)

// NewRedis returns a store whose records expire after ttl. ttl must be at least a millisecond;
// Redis refuses to write with less. The caller owns rdb and closes it.
func NewRedis(rdb redis.Cmdable, ttl time.Duration, options ...Option) *Redis {
	var with settings
	for _, option := range options {
		option(&with)
	}
	return &Redis{
		rdb:   rdb,
		codec: codec{with.keyset},
		ttl:   strconv.FormatInt(ttl.Milliseconds(), 10),
		claim: redis.NewScript(userLua + whoseLua + claimLua),
		save:  redis.NewScript(userLua + whoseLua + saveLua),
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

// claimAll claims c's records and stores the answers in results.
func (r *Redis) claimAll(ctx context.Context, c Claim, results []ClaimResult) error {
	if err := c.check(); err != nil {
		return err
	}
	ks := recordKeys(c.AppID, c.Records)
	users := r.userKeys(c.Records, ks)
	me := owner(c.TaskID)
	values, err := r.codec.encode(c.Records, me, marks(users))
	if err != nil {
		return err
	}
	args := append(make([]any, 0, 4+2*len(values)), me, c.For.Milliseconds(), r.ttl, userMargin.Milliseconds())
	for i, v := range values {
		args = append(args, v[headerLen:], milli(c.Records[i].AcceptedAt))
	}

	// The script expects the keys of the records, then the keys of their users.
	answers, err := r.claim.Run(ctx, r.rdb, append(ks, users...), args...).Slice()
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

// claimResult converts the script's answer for rec. It returns false if the stored record is
// broken.
func (r *Redis) claimResult(answer any, rec *Record) (ClaimResult, bool) {
	// A number is a state without a value. A string is a stored value after "c" (claimed) or
	// "d" (done). See claim.lua.
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

// unreadable returns the known part of a record that is sealed under another keyset, for
// instance by a process that already has a newer one. The rank shows the status: failed and
// expired share one rank and are both returned as failed. The claim is valid all the same.
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

// reclaim claims record i again after its value turned out to have a valid header and a broken
// body. It drops the value first, so the record counts as missing. This happens only if the
// value was modified externally.
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
	// A missing key, or a value that is not a record, leaves an empty Status.
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

// recordKeys returns the keys of the records of one app.
func recordKeys(appID string, records []Record) []string {
	return keys(appID, len(records), func(i int) string { return records[i].CloudID })
}
