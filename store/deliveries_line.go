package store

import (
	"context"
	_ "embed" // the script
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// lineCheck is when the sweep makes a task for a delivery that has been in line for so long, whoever has forgotten it.
const lineCheck = time.Hour

// calledFor is how long those who are called up are out of the line, if the caller dies before they are due.
const calledFor = time.Minute

//go:embed call_up.lua
var callUpLua string

var callUpScript = redis.NewScript(callUpLua)

// lineKey is a sorted set of the deliveries, of all apps, that wait for an endpoint, by since when.
func lineKey(endpoint string) string { return endpointKey(endpoint) + ":line" }

// LineUp puts a delivery into the line of its endpoint, at the end. It stays pending, and due for the first time when it
// was due: CallUp brings it back.
func (d *Deliveries) LineUp(ctx context.Context, endpoint, id string) error {
	due, err := dueKey(id)
	if err != nil {
		return err
	}
	now := time.Now()
	_, err = d.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.ZAdd(ctx, lineKey(endpoint), redis.Z{Member: id, Score: float64(now.UnixMilli())})
		p.PExpire(ctx, lineKey(endpoint), DeliverFor)
		return nil
	})
	if err == nil { // not before: after a crash in between the sweep finds it
		err = d.rdb.ZAddXX(ctx, due, redis.Z{Member: id, Score: float64(now.Add(lineCheck).UnixMilli())}).Err()
	}
	if err != nil {
		return fmt.Errorf("lining up a delivery: %w", err)
	}
	return nil
}

// InLine returns how many deliveries wait for an endpoint.
func (d *Deliveries) InLine(ctx context.Context, endpoint string) (int, error) {
	n, err := d.rdb.ZCard(ctx, lineKey(endpoint)).Result()
	if err != nil {
		return 0, fmt.Errorf("looking at an endpoint's line: %w", err)
	}
	return int(n), nil
}

// CallUp takes up to n deliveries out of the line of an endpoint, those that have waited longest, each for one caller. They
// are due from now on, so that the sweep finds those whose caller dies.
func (d *Deliveries) CallUp(ctx context.Context, endpoint string, n int) ([]string, error) {
	if n < 1 {
		return nil, nil
	}
	line, now := lineKey(endpoint), time.Now()
	ids, err := callUpScript.Run(ctx, d.rdb, []string{line}, n, now.UnixMilli(), now.Add(calledFor).UnixMilli()).StringSlice()
	if err != nil {
		return nil, fmt.Errorf("calling up deliveries: %w", err)
	}
	if len(ids) == 0 {
		return nil, nil
	}
	if err := d.touchOf(ctx, ids); err != nil {
		return nil, err
	}
	_, err = d.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, id := range ids {
			if due, err := dueKey(id); err == nil {
				p.ZAddXX(ctx, due, redis.Z{Member: id, Score: float64(now.UnixMilli())})
			}
		}
		return nil
	})
	if err == nil {
		err = d.rdb.ZRem(ctx, line, ids).Err()
	}
	if err != nil {
		return nil, fmt.Errorf("calling up deliveries: %w", err)
	}
	return ids, nil
}

// touchOf puts the apps of deliveries into the index before they are due earlier.
func (d *Deliveries) touchOf(ctx context.Context, ids []string) error {
	apps := make([]string, 0, len(ids))
	for _, id := range ids {
		if _, err := deliveryKey(id); err == nil {
			apps = append(apps, appOfID(id))
		}
	}
	return touch(ctx, d.rdb, &d.touched, apps...)
}

// dueKey is where it stands when a delivery is to be tried.
func dueKey(id string) (string, error) {
	row, err := deliveryKey(id)
	if err != nil {
		return "", err
	}
	return row[:len(row)-len(deliveryPart)-len(id)] + duePart, nil
}
