package store

import (
	"context"
	_ "embed" // the scripts
	"encoding/hex"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// Of the apps that have had deliveries a few have something in their outbox. These are found without asking each:
//
//	cloudidq:{outbox}:fresh   sorted set of apps whose outbox is about to change, or has changed lately, by when (Unix ms)
//	cloudidq:{outbox}:later   sorted set of apps that have something in their outbox, by when it is to be looked at
//
// An app is its 8 hex characters, as in its keys. Whoever puts something into an outbox, or makes a delivery due earlier,
// puts the app into the first set before, though not again within touchedFor. An app leaves it after freshFor, so no write
// that relied on its being there is under way any more, for the second set or, if its outbox is empty, for none. All moments
// are those of Redis.
const (
	outboxFresh = "cloudidq:{outbox}:fresh"
	outboxLater = "cloudidq:{outbox}:later"

	// touchedFor is how long a process takes an app to be in the first set that it has put there.
	touchedFor = 30 * time.Second
	// freshFor is how long an app stays there: touchedFor, and far longer than a write takes.
	freshFor = 2 * time.Minute
	// lookPatience is how long a look may take for what it has seen to be believed.
	lookPatience = 10 * time.Second
	// lookAgain is when an outbox is looked at again at the latest that has something in it.
	lookAgain = time.Minute
	// lookChunk is how many apps are looked at in one round trip.
	lookChunk = 200
)

var (
	//go:embed outbox_touch.lua
	touchLua string
	//go:embed outbox_look.lua
	lookLua string
	//go:embed outbox_looked.lua
	lookedLua string

	touchScript  = redis.NewScript(touchLua)
	lookScript   = redis.NewScript(lookLua)
	lookedScript = redis.NewScript(lookedLua)
)

// hexOf is how the index names an app.
func hexOf(app [appLen / 2]byte) string { return hex.EncodeToString(app[:]) }

// touch puts apps into the index before their outboxes change, those that touched does not say were put there just now.
func touch(ctx context.Context, rdb redis.Cmdable, touched *sync.Map, apps ...string) error {
	now := time.Now()
	late := []any{DeliverFor.Milliseconds()}
	for _, app := range apps {
		if at, known := touched.Load(app); !known || now.Sub(at.(time.Time)) >= touchedFor {
			late = append(late, app)
		}
	}
	if len(late) == 1 {
		return nil
	}
	if err := touchScript.Run(ctx, rdb, []string{outboxFresh}, late...).Err(); err != nil {
		return fmt.Errorf("announcing deliveries: %w", err)
	}
	for _, app := range late[1:] {
		touched.Store(app, now)
	}
	return nil
}

// Unfinished is what a look has found in the outbox of an app.
type Unfinished struct {
	AppID     string
	Endpoints []string // those for which results wait to become deliveries
	Due       bool     // deliveries are due since the moment that was asked for, or longer
}

// Unfinished looks at the outboxes that have changed lately or whose time has come, or at those of all apps that have ever
// had deliveries, and returns those that have something to be done: results that wait, or deliveries due by a moment. With
// nothing in any outbox it is one round trip, however many apps there are.
func (d *Deliveries) Unfinished(ctx context.Context, by time.Time, all bool) ([]Unfinished, error) {
	begun := time.Now()
	apps, err := d.toLookAt(ctx, all)
	if err != nil {
		return nil, fmt.Errorf("looking for what waits for delivery: %w", err)
	}
	var found []Unfinished
	for first := 0; first < len(apps); first += lookChunk {
		chunk := apps[first:min(first+lookChunk, len(apps))]
		some, err := d.lookAt(ctx, chunk, by)
		if err == nil && time.Since(begun) < lookPatience {
			err = d.looked(ctx, chunk)
		}
		if err != nil {
			return found, fmt.Errorf("looking for what waits for delivery: %w", err)
		}
		found = append(found, some...)
	}
	return found, nil
}

// indexed is an app in the index.
type indexed struct {
	app   string
	fresh string        // its moment among those that have changed lately; empty = it is not there
	stays bool          // there
	again time.Duration // until the next look; negative = nothing is in its outbox
}

// toLookAt lists the apps.
func (d *Deliveries) toLookAt(ctx context.Context, all bool) ([]*indexed, error) {
	answer, err := lookScript.Run(ctx, d.rdb, []string{outboxFresh, outboxLater}).Slice()
	if err != nil {
		return nil, err
	}
	if len(answer) != 3 {
		return nil, errAnswer
	}
	now, _ := strconv.ParseInt(fmt.Sprint(answer[0]), 10, 64)
	fresh, _ := answer[1].([]any)
	later, _ := answer[2].([]any)
	var apps []*indexed
	known := make(map[string]bool)
	for i := 0; i+1 < len(fresh); i += 2 {
		a := &indexed{app: fmt.Sprint(fresh[i]), fresh: fmt.Sprint(fresh[i+1])}
		at, err := strconv.ParseInt(a.fresh, 10, 64)
		a.stays = err == nil && now-at < freshFor.Milliseconds()
		apps, known[a.app] = append(apps, a), true
	}
	others := later
	if all {
		if err := d.learnApps(ctx); err != nil {
			return nil, err
		}
		d.appIDs.Range(func(app, _ any) bool { others = append(others, app); return true })
	}
	for _, app := range others {
		if name := fmt.Sprint(app); !known[name] {
			apps, known[name] = append(apps, &indexed{app: name}), true
		}
	}
	return apps, nil
}

// lookAt looks at the outboxes of some apps in one round trip, and notes when they are looked at again.
func (d *Deliveries) lookAt(ctx context.Context, apps []*indexed, by time.Time) ([]Unfinished, error) {
	outlets, dues := make([]*redis.StringSliceCmd, len(apps)), make([]*redis.ZSliceCmd, len(apps))
	_, err := d.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, a := range apps {
			prefix := keyPrefix + a.app + "}:"
			outlets[i], dues[i] = p.SMembers(ctx, prefix+outletsPart), p.ZRangeWithScores(ctx, prefix+duePart, 0, 0)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	var found []Unfinished
	for i, a := range apps {
		u := Unfinished{Endpoints: outlets[i].Val()}
		a.again = -time.Millisecond
		if due := dues[i].Val(); len(due) > 0 {
			at := time.UnixMilli(int64(due[0].Score))
			a.again = min(max(0, at.Sub(by)), lookAgain)
			u.Due = !at.After(by)
		}
		if len(u.Endpoints) > 0 {
			a.again = 0
		}
		if len(u.Endpoints) == 0 && !u.Due {
			continue
		}
		if u.AppID, err = d.appOf(ctx, a.app); err != nil {
			return nil, err
		}
		if u.AppID != "" {
			found = append(found, u)
		}
	}
	return found, nil
}

// looked notes when apps are looked at again.
func (d *Deliveries) looked(ctx context.Context, apps []*indexed) error {
	args := []any{DeliverFor.Milliseconds()}
	for _, a := range apps {
		if !a.stays {
			args = append(args, a.app, a.fresh, a.again.Milliseconds())
		}
	}
	if len(args) == 1 {
		return nil
	}
	return lookedScript.Run(ctx, d.rdb, []string{outboxFresh, outboxLater}, args...).Err()
}

// appOf is the appid of an app of the index; empty if nobody has announced it.
func (d *Deliveries) appOf(ctx context.Context, app string) (string, error) {
	if appID, known := d.appIDs.Load(app); known {
		return appID.(string), nil
	}
	if err := d.learnApps(ctx); err != nil {
		return "", err
	}
	appID, _ := d.appIDs.Load(app)
	text, _ := appID.(string)
	return text, nil
}

// learnApps reads which apps there are.
func (d *Deliveries) learnApps(ctx context.Context) error {
	appIDs, err := d.Apps(ctx)
	for _, appID := range appIDs {
		d.appIDs.Store(hexOf(appHash(appID)), appID)
	}
	return err
}
