package store

import (
	"context"
	_ "embed" // the script
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

//go:embed append.lua
var appendLua string

var appendScript = redis.NewScript(appendLua)

// appendedFor is how long an end is known to be in the outbox: far longer than a repetition takes to come.
const appendedFor = 24 * time.Hour

// append puts ends into the outbox that another store has saved, each once, however often it is told of them. Nothing of
// an erased person is taken.
func (d *Deliveries) append(ctx context.Context, rows []owed) error {
	byApp := make(map[string][]owed)
	for _, row := range rows {
		byApp[string(row.App)] = append(byApp[string(row.App)], row)
	}
	for app, rows := range byApp {
		if err := d.appendApp(ctx, keyPrefix+hex.EncodeToString([]byte(app))+"}:", rows); err != nil {
			return fmt.Errorf("putting %d ends into the outbox: %w", len(rows), err)
		}
	}
	return nil
}

// appendApp is one run of the script: the ends of one app.
func (d *Deliveries) appendApp(ctx context.Context, prefix string, rows []owed) error {
	keys := make([]string, 2*len(rows))
	args := append(make([]any, 0, 3+4*len(rows)), appendedFor.Milliseconds(), DeliverFor.Milliseconds(), prefix)
	for i, row := range rows {
		keys[i] = prefix + "x:" + strconv.FormatInt(row.ID, 10)
		keys[len(rows)+i] = keys[i]
		if row.Person != nil {
			keys[len(rows)+i] = prefix + personPart + cloudPart(row.Person)
		}
		args = append(args, cloudPart(row.Cloud), row.Accepted, row.Endpoint, row.Item)
	}
	return appendScript.Run(ctx, d.rdb, keys, args...).Err()
}

// cloudPart is a hash as it stands in keys.
func cloudPart(hash []byte) string { return base64.RawURLEncoding.EncodeToString(hash) }

// eraseScript is that of [Redis.Erase]: where the records are elsewhere, it finds what waits for delivery.
var eraseScript = redis.NewScript(eraseLua)

// erase takes everything of a person out of what waits for delivery.
func (d *Deliveries) erase(ctx context.Context, appID, openID string) error {
	err := eraseScript.Run(ctx, d.rdb, []string{d.codec.personKey(appID, openID)}, strconv.FormatInt(time.Now().UnixMilli(), 10),
		DeliverFor.Milliseconds(), personMargin.Milliseconds(), appPrefix(appID)).Err()
	if err != nil {
		return fmt.Errorf("erasing what waits for delivery: %w", err)
	}
	return nil
}
