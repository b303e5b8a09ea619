package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// Outlets returns the endpoints for which results of an app wait to become deliveries.
func (d *Deliveries) Outlets(ctx context.Context, appID string) ([]string, error) {
	endpoints, err := d.rdb.SMembers(ctx, appPrefix(appID)+outletsPart).Result()
	if err != nil {
		return nil, fmt.Errorf("listing what waits for delivery: %w", err)
	}
	return endpoints, nil
}

// Apps returns the apps that have had deliveries, sorted.
func (d *Deliveries) Apps(ctx context.Context) ([]string, error) {
	apps, err := d.rdb.SMembers(ctx, outboxApps).Result()
	if err != nil {
		return nil, fmt.Errorf("listing the apps with deliveries: %w", err)
	}
	slices.Sort(apps)
	return apps, nil
}

// Due returns up to limit deliveries of an app that were to be tried by a moment, the longest due first. They are due
// again after again, unless Settle says otherwise: so several processes may ask.
func (d *Deliveries) Due(ctx context.Context, appID string, by time.Time, again time.Duration, limit int) ([]string, error) {
	key := appPrefix(appID) + duePart
	ids, err := d.rdb.ZRangeArgs(ctx, redis.ZRangeArgs{
		Key: key, ByScore: true, Start: "-inf", Stop: strconv.FormatInt(by.UnixMilli(), 10), Count: int64(limit),
	}).Result()
	if err != nil {
		return nil, fmt.Errorf("listing due deliveries: %w", err)
	}
	if len(ids) == 0 {
		return nil, nil
	}
	postponed := make([]redis.Z, len(ids))
	for i, id := range ids {
		postponed[i] = redis.Z{Member: id, Score: float64(time.Now().Add(again).UnixMilli())}
	}
	if err := d.rdb.ZAddXX(ctx, key, postponed...).Err(); err != nil {
		return nil, fmt.Errorf("listing due deliveries: %w", err)
	}
	return ids, nil
}

// Forget takes a delivery that is not there any more out of the lists.
func (d *Deliveries) Forget(ctx context.Context, id string) error {
	if _, err := deliveryKey(id); err != nil {
		return err
	}
	prefix := keyPrefix + id[len("msg_"):len("msg_")+appLen] + "}:"
	_, err := d.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.ZRem(ctx, prefix+duePart, id)
		p.ZRem(ctx, prefix+deliveriesPart, id)
		return nil
	})
	if err != nil {
		return fmt.Errorf("forgetting a delivery: %w", err)
	}
	return nil
}

// Filter says which deliveries are listed; an empty field says nothing.
type Filter struct {
	AppID    string
	Endpoint string
	State    DeliveryState
}

func (f Filter) takes(d *Delivery) bool {
	return (f.Endpoint == "" || d.Endpoint == f.Endpoint) && (f.State == "" || d.State == f.State)
}

// listPage is how many deliveries are looked at in one round trip.
const listPage = 200

// List calls yield for each delivery that the filter takes, until that returns false: app by app, the newest first, and
// those that have arrived behind the others.
func (d *Deliveries) List(ctx context.Context, filter Filter, yield func(Delivery) bool) error {
	apps := []string{filter.AppID}
	if filter.AppID == "" {
		var err error
		if apps, err = d.Apps(ctx); err != nil {
			return err
		}
	}
	for _, appID := range apps {
		for _, index := range []string{deliveriesPart, deliveredPart} {
			if more, err := d.listIndex(ctx, appPrefix(appID)+index, filter, yield); err != nil || !more {
				return err
			}
		}
	}
	return nil
}

func (d *Deliveries) listIndex(ctx context.Context, key string, filter Filter, yield func(Delivery) bool) (bool, error) {
	for at := int64(0); ; at += listPage {
		ids, err := d.rdb.ZRevRange(ctx, key, at, at+listPage-1).Result()
		if err != nil {
			return false, fmt.Errorf("listing deliveries: %w", err)
		}
		rows, err := d.rows(ctx, ids)
		if err != nil {
			return false, err
		}
		for i := range rows {
			if filter.takes(&rows[i]) && !yield(rows[i]) {
				return false, nil
			}
		}
		if len(ids) < listPage {
			return true, nil
		}
	}
}

// rows reads deliveries without their attempts; those that are gone are left out.
func (d *Deliveries) rows(ctx context.Context, ids []string) ([]Delivery, error) {
	fields := make([]*redis.MapStringStringCmd, len(ids))
	_, err := d.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, id := range ids {
			key, err := deliveryKey(id)
			if err != nil {
				return errAnswer
			}
			fields[i] = p.HGetAll(ctx, key)
		}
		return nil
	})
	if err != nil && !errors.Is(err, redis.Nil) {
		return nil, fmt.Errorf("listing deliveries: %w", err)
	}
	rows := make([]Delivery, 0, len(ids))
	for i, id := range ids {
		if row := fields[i].Val(); len(row) > 0 {
			rows = append(rows, parseDelivery(id, row, nil))
		}
	}
	return rows, nil
}
