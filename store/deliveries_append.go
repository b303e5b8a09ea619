package store

import (
	"context"
	_ "embed" // the script
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

//go:embed append.lua
var appendLua string

var appendScript = redis.NewScript(appendLua)

// appendedFor is how long a relayed result is remembered, in case it is relayed again. That is
// far longer than a relay takes.
const appendedFor = 24 * time.Hour

// appendedPart is the key part of the set of relayed results, by their number in PostgreSQL's
// outbox.
const appendedPart = "x"

// append adds to the outbox the results that another store saved. Until appended is called, a
// repeated call adds each result only once. A result of a user who was erased since is not
// added.
func (d *Deliveries) append(ctx context.Context, rows []unrelayed) error {
	apps := unrelayedByApp(rows)
	for _, rows := range apps {
		if err := touch(ctx, d.rdb, &d.touched, hex.EncodeToString(rows[0].App)); err != nil {
			return err
		}
	}
	// One script per app, all in one round trip.
	cmds, err := d.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, rows := range apps {
			keys, args := appending(rows)
			appendScript.EvalSha(ctx, p, keys, args...)
		}
		return nil
	})
	for i, cmd := range cmds {
		// A server that does not have the script, because it is new or was restarted, loads it
		// here.
		if redis.HasErrorPrefix(cmd.Err(), "NOSCRIPT") && len(cmds) == len(apps) {
			keys, args := appending(apps[i])
			cmd.SetErr(appendScript.Run(ctx, d.rdb, keys, args...).Err())
		}
		if cmd.Err() != nil {
			return fmt.Errorf("adding %d results to the outbox: %w", len(rows), cmd.Err())
		}
	}
	if len(cmds) != len(apps) {
		return fmt.Errorf("adding %d results to the outbox: %w", len(rows), err)
	}
	return nil
}

// appended forgets results that will not be relayed again.
func (d *Deliveries) appended(ctx context.Context, rows []unrelayed) error {
	_, err := d.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, rows := range unrelayedByApp(rows) {
			ids := make([]any, len(rows))
			for i := range rows {
				ids[i] = rows[i].ID
			}
			p.SRem(ctx, unrelayedPrefix(rows[0].App)+appendedPart, ids...)
		}
		return nil
	})
	return err
}

// appending returns the keys and arguments of one run of the script: the results of one app.
func appending(rows []unrelayed) (keys []string, args []any) {
	prefix := unrelayedPrefix(rows[0].App)
	keys = make([]string, 1+len(rows))
	keys[0] = prefix + appendedPart
	args = append(make([]any, 0, 3+5*len(rows)), appendedFor.Milliseconds(), deliverFor.Milliseconds(), prefix)
	for i := range rows {
		row := &rows[i]
		keys[1+i] = keys[0]
		if row.User != nil {
			keys[1+i] = prefix + userPart + cloudPart(row.User)
		}
		args = append(args, row.ID, cloudPart(row.Cloud), row.Expires.Add(-deliverFor).UnixMicro(), row.Endpoint, row.Item)
	}
	return keys, args
}

// unrelayedByApp groups results by app and preserves their order within each app.
func unrelayedByApp(rows []unrelayed) [][]unrelayed {
	at := make(map[string]int)
	var apps [][]unrelayed
	for _, row := range rows {
		i, known := at[string(row.App)]
		if !known {
			i = len(apps)
			at[string(row.App)], apps = i, append(apps, nil)
		}
		apps[i] = append(apps[i], row)
	}
	return apps
}

// unrelayedPrefix returns the key prefix of an app.
func unrelayedPrefix(app []byte) string { return keyPrefix + hex.EncodeToString(app) + "}:" }

// cloudPart returns a hash in the form that keys use.
func cloudPart(hash []byte) string { return base64.RawURLEncoding.EncodeToString(hash) }

// eraseScript is the script of [Redis.Erase]. If another store has the records, it removes only
// what waits for delivery here.
var eraseScript = redis.NewScript(eraseLua)

// erase removes a user's results from the outbox and from all deliveries. micro is the time of
// the erasure by the clock of the store that saved the results, in Unix microseconds.
func (d *Deliveries) erase(ctx context.Context, appID, openID string, micro int64) error {
	moment := fmt.Sprintf("%d.%03d", micro/1000, micro%1000)
	err := eraseScript.Run(ctx, d.rdb, d.codec.userKeys(appID, openID), moment,
		deliverFor.Milliseconds(), userMargin.Milliseconds(), appPrefix(appID)).Err()
	if err != nil {
		return fmt.Errorf("erasing waiting results: %w", err)
	}
	return nil
}
