package store

import (
	"context"
	_ "embed" // the script
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// parkedCheck is how long after its last parking a delivery becomes due by itself. A sweep then
// makes a task for it, in case no worker unparked it.
const parkedCheck = time.Hour

// unparkedFor is how long unparked deliveries stay out of the wait list if the caller dies before
// they are due.
const unparkedFor = time.Minute

//go:embed unpark.lua
var unparkLua string

var unparkScript = redis.NewScript(unparkLua)

// waitListKey returns the key of an endpoint's wait list: a sorted set of deliveries of all apps,
// by the time they were parked.
func waitListKey(endpoint string) string { return endpointKey(endpoint) + ":line" }

// Park parks a delivery at the end of its endpoint's wait list. The delivery stays pending,
// but is not due for parkedCheck. Unpark unparks it.
func (d *Deliveries) Park(ctx context.Context, endpoint, id string) error {
	due, err := dueKey(id)
	if err != nil {
		return err
	}
	now := time.Now()
	_, err = d.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.ZAdd(ctx, waitListKey(endpoint), redis.Z{Member: id, Score: float64(now.UnixMilli())})
		p.PExpire(ctx, waitListKey(endpoint), deliverFor)
		return nil
	})
	// Postpone the delivery only once it is in the list, so that the sweep finds it after a
	// crash in between.
	if err == nil {
		err = d.rdb.ZAddXX(ctx, due, redis.Z{Member: id, Score: float64(now.Add(parkedCheck).UnixMilli())}).Err()
	}
	if err != nil {
		return fmt.Errorf("parking a delivery: %w", err)
	}
	return nil
}

// Parked returns how many deliveries are parked for an endpoint.
func (d *Deliveries) Parked(ctx context.Context, endpoint string) (int, error) {
	n, err := d.rdb.ZCard(ctx, waitListKey(endpoint)).Result()
	if err != nil {
		return 0, fmt.Errorf("counting parked deliveries: %w", err)
	}
	return int(n), nil
}

// Unpark unparks up to n deliveries of an endpoint, the longest parked first. Each goes to one
// caller. The deliveries are due at once, so that the sweep finds them if the caller dies.
func (d *Deliveries) Unpark(ctx context.Context, endpoint string, n int) ([]string, error) {
	if n < 1 {
		return nil, nil
	}
	list, now := waitListKey(endpoint), time.Now()
	ids, err := unparkScript.Run(ctx, d.rdb, []string{list}, n, now.UnixMilli(), now.Add(unparkedFor).UnixMilli()).StringSlice()
	if err != nil {
		return nil, fmt.Errorf("unparking deliveries: %w", err)
	}
	if len(ids) == 0 {
		return nil, nil
	}
	// Make them due before they leave the list, so that a crash in between loses none.
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
		err = d.rdb.ZRem(ctx, list, ids).Err()
	}
	if err != nil {
		return nil, fmt.Errorf("unparking deliveries: %w", err)
	}
	return ids, nil
}

// touchOf adds the apps of deliveries to the index before the deliveries become due earlier.
func (d *Deliveries) touchOf(ctx context.Context, ids []string) error {
	apps := make([]string, 0, len(ids))
	for _, id := range ids {
		if _, err := deliveryKey(id); err == nil {
			apps = append(apps, appOfID(id))
		}
	}
	return touch(ctx, d.rdb, &d.touched, apps...)
}

// dueKey returns the key of the sorted set that holds when a delivery is due, or ErrNoDelivery
// if id is malformed.
func dueKey(id string) (string, error) {
	row, err := deliveryKey(id)
	if err != nil {
		return "", err
	}
	return row[:len(row)-len(deliveryPart)-len(id)] + duePart, nil
}
