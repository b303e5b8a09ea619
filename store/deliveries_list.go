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

// Apps returns the appids that have had deliveries, sorted.
func (d *Deliveries) Apps(ctx context.Context) ([]string, error) {
	apps, err := d.rdb.SMembers(ctx, outboxApps).Result()
	if err != nil {
		return nil, fmt.Errorf("listing the apps with deliveries: %w", err)
	}
	slices.Sort(apps)
	return apps, nil
}

// Due returns up to limit deliveries of an app that were due by the given time, the longest due
// first. It postpones each by again, so that several processes may call it. RecordAttempt replaces
// that time.
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
	// The read and the postponement are not atomic, so two processes may return the same
	// delivery. Its task id makes sure that it has one task.
	postponed := make([]redis.Z, len(ids))
	for i, id := range ids {
		postponed[i] = redis.Z{Member: id, Score: float64(time.Now().Add(again).UnixMilli())}
	}
	if err := d.rdb.ZAddXX(ctx, key, postponed...).Err(); err != nil {
		return nil, fmt.Errorf("listing due deliveries: %w", err)
	}
	return ids, nil
}

// Forget removes a delivery that no longer exists from the lists of its app.
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

// Filter selects deliveries. An empty field matches all.
type Filter struct {
	AppID    string
	Endpoint string
	State    DeliveryState
}

// matches reports whether the delivery matches Endpoint and State. List has applied AppID
// already.
func (f Filter) matches(d *Delivery) bool {
	return (f.Endpoint == "" || d.Endpoint == f.Endpoint) && (f.State == "" || d.State == f.State)
}

// listPage is how many deliveries are read in one round trip.
const listPage = 200

// List calls yield for each delivery that matches filter, until yield returns false. It goes
// app by app, the newest first. Delivered ones follow the others of their app.
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

// listIndex lists one sorted set of ids. It reports whether the listing goes on.
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
			if filter.matches(&rows[i]) && !yield(rows[i]) {
				return false, nil
			}
		}
		if len(ids) < listPage {
			return true, nil
		}
	}
}

// rows reads deliveries without their attempts. It omits those that no longer exist.
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
