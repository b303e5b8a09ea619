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

// appendedFor is how long an end is known to be in the outbox that may come again: far longer than that takes.
const appendedFor = 24 * time.Hour

// appendedPart is the set of those ends, by their number in the outbox of the other store.
const appendedPart = "x"

// append puts ends into the outbox that another store has saved, each once, however often it is told of them before
// appended. Nothing of an erased person is taken.
func (d *Deliveries) append(ctx context.Context, rows []owed) error {
	apps := owedByApp(rows)
	for _, rows := range apps {
		if err := touch(ctx, d.rdb, &d.touched, hex.EncodeToString(rows[0].App)); err != nil {
			return err
		}
	}
	cmds, err := d.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, rows := range apps {
			keys, args := appending(rows)
			appendScript.EvalSha(ctx, p, keys, args...)
		}
		return nil
	})
	for i, cmd := range cmds {
		// A server that does not know the script yet, or forgot it in a restart, learns it here.
		if redis.HasErrorPrefix(cmd.Err(), "NOSCRIPT") && len(cmds) == len(apps) {
			keys, args := appending(apps[i])
			cmd.SetErr(appendScript.Run(ctx, d.rdb, keys, args...).Err())
		}
		if cmd.Err() != nil {
			return fmt.Errorf("putting %d ends into the outbox: %w", len(rows), cmd.Err())
		}
	}
	if len(cmds) != len(apps) {
		return fmt.Errorf("putting %d ends into the outbox: %w", len(rows), err)
	}
	return nil
}

// appended says that ends will not come again.
func (d *Deliveries) appended(ctx context.Context, rows []owed) error {
	_, err := d.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, rows := range owedByApp(rows) {
			ids := make([]any, len(rows))
			for i := range rows {
				ids[i] = rows[i].ID
			}
			p.SRem(ctx, owedPrefix(rows[0].App)+appendedPart, ids...)
		}
		return nil
	})
	return err
}

// appending is one run of the script: the ends of one app.
func appending(rows []owed) (keys []string, args []any) {
	prefix := owedPrefix(rows[0].App)
	keys = make([]string, 1+len(rows))
	keys[0] = prefix + appendedPart
	args = append(make([]any, 0, 3+5*len(rows)), appendedFor.Milliseconds(), DeliverFor.Milliseconds(), prefix)
	for i := range rows {
		row := &rows[i]
		keys[1+i] = keys[0]
		if row.Person != nil {
			keys[1+i] = prefix + personPart + cloudPart(row.Person)
		}
		args = append(args, row.ID, cloudPart(row.Cloud), row.Expires.Add(-DeliverFor).UnixMicro(), row.Endpoint, row.Item)
	}
	return keys, args
}

// owedByApp groups ends by app and keeps their order within each.
func owedByApp(rows []owed) [][]owed {
	at := make(map[string]int)
	var apps [][]owed
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

// owedPrefix begins the keys of an app.
func owedPrefix(app []byte) string { return keyPrefix + hex.EncodeToString(app) + "}:" }

// cloudPart is a hash as it stands in keys.
func cloudPart(hash []byte) string { return base64.RawURLEncoding.EncodeToString(hash) }

// eraseScript is that of [Redis.Erase]: where the records are elsewhere, it finds what waits for delivery.
var eraseScript = redis.NewScript(eraseLua)

// erase takes everything of a person out of what waits for delivery. micro is the moment of it by the clock of the store
// that the ends come from, in Unix microseconds.
func (d *Deliveries) erase(ctx context.Context, appID, openID string, micro int64) error {
	moment := fmt.Sprintf("%d.%03d", micro/1000, micro%1000)
	err := eraseScript.Run(ctx, d.rdb, d.codec.personKeys(appID, openID), moment,
		DeliverFor.Milliseconds(), personMargin.Milliseconds(), appPrefix(appID)).Err()
	if err != nil {
		return fmt.Errorf("erasing what waits for delivery: %w", err)
	}
	return nil
}
