package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"
)

// Backlog is what has not arrived at an endpoint, of one app.
type Backlog struct {
	Endpoint, AppID          string
	Pending, Held, Exhausted int // deliveries
}

// Backlogs counts the deliveries that have not arrived, and looks at limit of them at most: more says that there are
// others. It takes a command per app that has ever had deliveries, and one per delivery.
func (d *Deliveries) Backlogs(ctx context.Context, limit int) (backlogs []Backlog, more bool, err error) {
	ids, more, err := d.undelivered(ctx, limit)
	if err != nil {
		return nil, false, fmt.Errorf("counting deliveries: %w", err)
	}
	rows := make([]*redis.SliceCmd, len(ids))
	_, err = d.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, id := range ids {
			key, err := deliveryKey(id)
			if err != nil {
				return errAnswer
			}
			rows[i] = p.HMGet(ctx, key, "endpoint", "appid", "state")
		}
		return nil
	})
	if err != nil && !errors.Is(err, redis.Nil) {
		return nil, false, fmt.Errorf("counting deliveries: %w", err)
	}
	type place struct{ endpoint, appID string }
	at := make(map[place]int) // in backlogs
	for _, row := range rows {
		endpoint, appID, state := text(row, 0), text(row, 1), text(row, 2)
		if endpoint == "" { // gone meanwhile
			continue
		}
		i, known := at[place{endpoint, appID}]
		if !known {
			i = len(backlogs)
			at[place{endpoint, appID}] = i
			backlogs = append(backlogs, Backlog{Endpoint: endpoint, AppID: appID})
		}
		switch DeliveryState(state) {
		case DeliveryPending:
			backlogs[i].Pending++
		case DeliveryHeld:
			backlogs[i].Held++
		case DeliveryExhausted:
			backlogs[i].Exhausted++
		case DeliveryDelivered: // a moment ago
		}
	}
	return backlogs, more, nil
}

// undelivered are ids of deliveries that have not arrived, up to limit, the newest of each app first.
func (d *Deliveries) undelivered(ctx context.Context, limit int) (ids []string, more bool, err error) {
	apps, err := d.Apps(ctx)
	if err != nil || len(apps) == 0 {
		return nil, false, err
	}
	cards := make([]*redis.IntCmd, len(apps))
	if _, err := d.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, appID := range apps {
			cards[i] = p.ZCard(ctx, appPrefix(appID)+deliveriesPart)
		}
		return nil
	}); err != nil {
		return nil, false, err
	}
	var lists []*redis.StringSliceCmd
	_, err = d.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		left := limit
		for i, appID := range apps {
			n := int(cards[i].Val())
			more = more || n > left
			if n = min(n, left); n > 0 {
				lists = append(lists, p.ZRevRange(ctx, appPrefix(appID)+deliveriesPart, 0, int64(n-1)))
				left -= n
			}
		}
		return nil
	})
	for _, list := range lists {
		ids = append(ids, list.Val()...)
	}
	return ids, more, err
}

// text is the i-th value of an answer; empty if there is none.
func text(row *redis.SliceCmd, i int) string {
	if values := row.Val(); i < len(values) {
		s, _ := values[i].(string)
		return s
	}
	return ""
}
