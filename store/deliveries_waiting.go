package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"
)

// Backlog counts the undelivered deliveries of one app to one endpoint.
type Backlog struct {
	Endpoint, AppID          string
	Pending, Held, Exhausted int // deliveries
}

// Backlogs counts the undelivered deliveries per endpoint and app. It reads at most limit of
// them; more reports whether there are others. It costs up to two commands per app that has
// ever had deliveries, and one per delivery read.
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
	at := make(map[place]int) // index in backlogs
	for _, row := range rows {
		endpoint, appID, state := text(row, 0), text(row, 1), text(row, 2)
		if endpoint == "" { // removed in the meantime
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
		case DeliveryDelivered: // delivered after its id was listed
		}
	}
	return backlogs, more, nil
}

// undelivered returns the ids of up to limit undelivered deliveries, the newest of each app
// first.
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
	// Take ids app by app until limit is used up.
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

// text returns the i-th value of an answer, or "" if it is missing.
func text(row *redis.SliceCmd, i int) string {
	if values := row.Val(); i < len(values) {
		s, _ := values[i].(string)
		return s
	}
	return ""
}
