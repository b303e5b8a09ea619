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

// Of the apps that have had deliveries, only a few have something in their outbox. The index
// finds those without a query per app:
//
//	cloudidq:{outbox}:fresh   sorted set of apps whose outbox is about to change or changed
//	                          recently, by that time (Unix ms)
//	cloudidq:{outbox}:later   sorted set of apps with something in their outbox, by the time
//	                          of the next check (Unix ms)
//
// An app is its 8 hex characters, as in its keys. A process that adds to an outbox, or makes a
// delivery due earlier, first adds the app to fresh. It does not repeat that within touchedFor.
// After freshFor the app leaves fresh: every write that relied on the entry has finished by
// then. It moves to later, or out of the index if its outbox is empty. All times are by the
// clock of Redis.
const (
	outboxFresh = "cloudidq:{outbox}:fresh"
	outboxLater = "cloudidq:{outbox}:later"

	// touchedFor is how long a process relies on an app being in fresh after it added the app.
	touchedFor = 30 * time.Second
	// freshFor is how long an app stays in fresh: touchedFor plus far more than a write takes.
	freshFor = 2 * time.Minute
	// lookPatience bounds how long a scan may take before its findings are too old to update
	// the index.
	lookPatience = 10 * time.Second
	// lookAgain is the longest time between two checks of an outbox that is not empty.
	lookAgain = time.Minute
	// lookChunk is how many apps are checked in one round trip.
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

// hexOf returns the name of an app in the index.
func hexOf(app [appLen / 2]byte) string { return hex.EncodeToString(app[:]) }

// touch adds apps to fresh before their outboxes change. It skips those that this process added
// within touchedFor; touched holds those times.
func touch(ctx context.Context, rdb redis.Cmdable, touched *sync.Map, apps ...string) error {
	now := time.Now()
	// late holds the arguments of the script: the TTL, then the apps to add.
	late := []any{deliverFor.Milliseconds()}
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

// Unfinished is an app whose outbox needs work.
type Unfinished struct {
	AppID     string
	Endpoints []string // endpoints for which results wait to become deliveries
	Due       bool     // deliveries were due at the given time
}

// Unfinished checks the outboxes that changed recently or whose next check has come. With all,
// it checks those of every app that has ever had deliveries. It returns the apps with work to
// do: results that wait, or deliveries due by the given time. If the index is empty and all is
// false, it costs one round trip, however many apps exist. With an error, it returns the apps
// found before.
func (d *Deliveries) Unfinished(ctx context.Context, by time.Time, all bool) ([]Unfinished, error) {
	begun := time.Now()
	apps, err := d.toLookAt(ctx, all)
	if err != nil {
		return nil, fmt.Errorf("checking the outboxes: %w", err)
	}
	var found []Unfinished
	for first := 0; first < len(apps); first += lookChunk {
		chunk := apps[first:min(first+lookChunk, len(apps))]
		some, err := d.lookAt(ctx, chunk, by)
		// After a slow scan, the index stays as it is and the next scan repeats the checks.
		if err == nil && time.Since(begun) < lookPatience {
			err = d.looked(ctx, chunk)
		}
		if err != nil {
			return found, fmt.Errorf("checking the outboxes: %w", err)
		}
		found = append(found, some...)
	}
	return found, nil
}

// indexed is an app to check.
type indexed struct {
	app   string
	fresh string        // its score in fresh; empty = not in fresh
	stays bool          // stays in fresh, because it is younger than freshFor
	again time.Duration // until the next check; negative = the outbox is empty
}

// toLookAt returns the apps to check, each once.
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
	// With all, the apps of the index are not enough: an older version may have left others.
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

// lookAt checks the outboxes of some apps in one round trip and returns those that need work.
// It sets the field again of each app.
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

// looked writes to the index when apps are checked next.
func (d *Deliveries) looked(ctx context.Context, apps []*indexed) error {
	args := []any{deliverFor.Milliseconds()}
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

// appOf returns the appid of an app in the index, or "" if no process has announced it.
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

// learnApps loads the appids of all apps that have had deliveries.
func (d *Deliveries) learnApps(ctx context.Context) error {
	appIDs, err := d.Apps(ctx)
	for _, appID := range appIDs {
		d.appIDs.Store(hexOf(appHash(appID)), appID)
	}
	return err
}
