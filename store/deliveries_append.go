package store

import (
	"context"
	_ "embed" // the script
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

//go:embed append.lua
var appendLua string

var appendScript = redis.NewScript(appendLua)

// appendedFor is how long an end is known to be in the outbox: far longer than any repetition takes to come.
const appendedFor = time.Hour

// append puts the ends of records of one app into the outbox, each once, however often it is told of them. It is for a
// store that cannot do that by the stroke that saves; nothing of an erased person is taken.
func (d *Deliveries) append(ctx context.Context, records []Record) error {
	if len(records) == 0 {
		return nil
	}
	appID := records[0].AppID
	if err := d.rdb.SAdd(ctx, outboxApps, appID).Err(); err != nil {
		return fmt.Errorf("announcing deliveries: %w", err)
	}
	recordKeys := recordKeys(appID, records)
	keys := make([]string, 2*len(records))
	args := append(make([]any, 0, 3+4*len(records)), appendedFor.Milliseconds(), DeliverFor.Milliseconds(), appPrefix(appID))
	for i := range records {
		rec, key := &records[i], recordKeys[i]
		item, err := d.codec.item(rec, key)
		if err != nil {
			return err
		}
		// Another ask of the same cloudID has another end.
		keys[i] = key + ":" + strconv.FormatInt(rec.FinishedAt.UnixMilli(), 10)
		keys[len(records)+i] = keys[i]
		if rec.OpenID != "" {
			keys[len(records)+i] = d.codec.personKey(appID, rec.OpenID)
		}
		args = append(args, key[len(key)-cloudLen:], milli(rec.AcceptedAt), rec.Deliver.Endpoint, item)
	}
	if err := appendScript.Run(ctx, d.rdb, keys, args...).Err(); err != nil {
		return fmt.Errorf("putting %d ends into the outbox: %w", len(records), err)
	}
	return nil
}

// eraseScript is the same as of [Redis.Erase]: where the records are elsewhere, it finds what waits for delivery.
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
