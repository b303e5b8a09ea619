package store

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/redis/go-redis/v9"
)

// saving holds the keys and arguments of one run of the save script, for the records of one
// app.
type saving struct {
	keys []string
	args []any
}

// Save implements [Results]. Records of several apps go in one pipeline, with one script per
// app.
func (r *Redis) Save(ctx context.Context, taskID string, records []Record) error {
	if len(records) == 0 {
		return nil
	}
	if err := r.saveAll(ctx, taskID, records); err != nil {
		return fmt.Errorf("saving %d records: %w", len(records), err)
	}
	return nil
}

// saveAll announces the deliveries, encodes all records and runs the save script.
func (r *Redis) saveAll(ctx context.Context, taskID string, records []Record) error {
	// Announce first: after a crash, other processes then find the results of this save.
	if err := announce(ctx, r.rdb, &r.announced, records); err != nil {
		return err
	}
	me := owner(taskID)
	apps := byApp(records)
	runs := make([]saving, 0, len(apps))
	// Encode everything before sending anything, so that a faulty record fails the whole call.
	for _, recs := range apps {
		ks := recordKeys(recs[0].AppID, recs)
		users := r.userKeys(recs, ks)
		values, err := r.codec.encode(recs, me, marks(users))
		if err != nil {
			return err
		}
		args := append(make([]any, 0, 4+4*len(values)), me, r.ttl, userMargin.Milliseconds(), deliverFor.Milliseconds())
		for i, v := range values {
			item, err := r.codec.item(&recs[i], ks[i])
			if err != nil {
				return err
			}
			args = append(args, v, milli(recs[i].AcceptedAt), recs[i].Deliver.Endpoint, item)
		}
		runs = append(runs, saving{keys: append(ks, users...), args: args})
	}
	// The usual case needs no pipeline, and Run handles an unknown script by itself.
	if len(runs) == 1 {
		return r.save.Run(ctx, r.rdb, runs[0].keys, runs[0].args...).Err()
	}
	return r.pipeline(ctx, runs)
}

// pipeline runs the save script for several apps in one round trip.
func (r *Redis) pipeline(ctx context.Context, runs []saving) error {
	cmds, err := r.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, run := range runs {
			r.save.EvalSha(ctx, p, run.keys, run.args...)
		}
		return nil
	})
	if len(cmds) != len(runs) {
		return err
	}
	var errs []error
	for i, cmd := range cmds {
		err := cmd.Err()
		// The server does not know the script yet, or lost it in a restart. Run sends the
		// script itself.
		if redis.HasErrorPrefix(err, "NOSCRIPT") {
			err = r.save.Run(ctx, r.rdb, runs[i].keys, runs[i].args...).Err()
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// byApp groups records by app and keeps their order within each app.
func byApp(records []Record) [][]Record {
	// Most calls hold one app, so return the records as they are.
	first := records[0].AppID
	if !slices.ContainsFunc(records, func(r Record) bool { return r.AppID != first }) {
		return [][]Record{records}
	}
	groups := map[string]int{first: 0}
	out := [][]Record{nil}
	for i := range records {
		n, ok := groups[records[i].AppID]
		if !ok {
			n = len(out)
			groups[records[i].AppID] = n
			out = append(out, nil)
		}
		out[n] = append(out[n], records[i])
	}
	return out
}
