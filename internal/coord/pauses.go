package coord

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"sort"
	"time"

	"github.com/redis/go-redis/v9"

	"cloudidq/store"
)

// Pause says why no request is sent for an app, and until when. It holds for every process.
type Pause struct {
	AppID  string     `json:"appid"`
	Code   int        `json:"code"`   // WeChat's errcode
	Reason string     `json:"reason"` // the class of the code: rate, quota, app
	Times  int        `json:"times"`  // pauses in a row; 1 is the first
	Since  store.Time `json:"since"`  // start of the first pause in the row
	Until  store.Time `json:"until"`
	// ProbeUntil is set while one process may send a single request to find out whether the
	// cause is over.
	ProbeUntil store.Time `json:"probe_until,omitzero"`
}

// Pauses stores the paused apps in Redis, in one hash with a field per app. A process reads all
// of them in one round trip, however many apps exist.
type Pauses struct{ rdb redis.Cmdable }

// pausesKey is a hash. Its field is the appid, its value "until probe_until since times code
// reason", with times in Unix milliseconds.
const pausesKey = "cloudidq:pauses"

// pauseAttempts bounds how often a write is repeated when two processes write at once. The other
// process's write is as good as this one.
const pauseAttempts = 5

//go:embed pause.lua
var pauseLua string

var pauseScript = redis.NewScript(pauseLua)

// NewPauses returns the pauses in rdb. The caller closes rdb.
func NewPauses(rdb redis.Cmdable) *Pauses { return &Pauses{rdb: rdb} }

// List returns the pauses of all apps, sorted by appid. It includes pauses whose time is over
// and that wait for a probe.
func (p *Pauses) List(ctx context.Context) ([]Pause, error) {
	fields, err := p.rdb.HGetAll(ctx, pausesKey).Result()
	if err != nil {
		return nil, fmt.Errorf("listing pauses: %w", err)
	}
	list := make([]Pause, 0, len(fields))
	for appID, text := range fields {
		if pause, ok := parsePause(appID, text); ok {
			list = append(list, pause)
		}
	}
	sort.Slice(list, func(i, j int) bool { return list[i].AppID < list[j].AppID })
	return list, nil
}

// Get returns the pause of an app, or false if the app is not paused. A pause whose Until is
// past still waits for its probe.
func (p *Pauses) Get(ctx context.Context, appID string) (Pause, bool, error) {
	text, err := p.rdb.HGet(ctx, pausesKey, appID).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return Pause{}, false, fmt.Errorf("reading a pause: %w", err)
	}
	pause, ok := parsePause(appID, text)
	return pause, ok, nil
}

// Set pauses an app until the time that until returns for the number of pauses in a row. It
// leaves a pause that still runs as it is. Set returns the pause that now holds.
func (p *Pauses) Set(ctx context.Context, appID string, code int, reason string, until func(times int) time.Time) (Pause, error) {
	return p.change(ctx, appID, func(old *Pause, now time.Time) *Pause {
		if old != nil && old.Until.After(now) {
			return nil
		}
		// A pause that follows one that is over but not lifted continues the row.
		next := Pause{AppID: appID, Code: code, Reason: reason, Times: 1, Since: store.At(now)}
		if old != nil {
			next.Times, next.Since = old.Times+1, old.Since
		}
		next.Until = store.At(until(next.Times))
		return &next
	})
}

// Probe reports whether the caller may send one request for an app whose pause is over. Only
// one caller gets true per lease. The others wait for its result: Lift, or the next Set.
func (p *Pauses) Probe(ctx context.Context, appID string, lease time.Duration) (bool, error) {
	won := false
	_, err := p.change(ctx, appID, func(old *Pause, now time.Time) *Pause {
		if won = old != nil && !old.Until.After(now) && !old.ProbeUntil.After(now); !won {
			return nil
		}
		next := *old
		next.ProbeUntil = store.At(now.Add(lease))
		return &next
	})
	return won && err == nil, err
}

// Lift removes the pause of an app and reports whether there was one.
func (p *Pauses) Lift(ctx context.Context, appID string) (bool, error) {
	n, err := p.rdb.HDel(ctx, pausesKey, appID).Result()
	if err != nil {
		return false, fmt.Errorf("lifting a pause: %w", err)
	}
	return n > 0, nil
}

var errPauseContended = errors.New("too many concurrent changes by other processes")

// change replaces the pause of an app with the result of next. If next returns nil, change
// writes nothing. If another process wrote in between, change calls next again. After
// pauseAttempts calls it returns errPauseContended. Otherwise it returns the pause that now holds.
func (p *Pauses) change(ctx context.Context, appID string, next func(old *Pause, now time.Time) *Pause) (Pause, error) {
	for range pauseAttempts {
		text, err := p.rdb.HGet(ctx, pausesKey, appID).Result()
		if err != nil && !errors.Is(err, redis.Nil) {
			return Pause{}, fmt.Errorf("reading a pause: %w", err)
		}
		var old *Pause
		if pause, ok := parsePause(appID, text); ok {
			old = &pause
		}
		wanted := next(old, time.Now())
		if wanted == nil {
			if old == nil {
				return Pause{}, nil
			}
			return *old, nil
		}
		done, err := pauseScript.Run(ctx, p.rdb, []string{pausesKey}, appID, text, wanted.text()).Bool()
		if err != nil && !errors.Is(err, redis.Nil) {
			return Pause{}, fmt.Errorf("writing a pause: %w", err)
		}
		if done {
			return *wanted, nil
		}
	}
	return Pause{}, fmt.Errorf("writing a pause: %w", errPauseContended)
}

// text returns the stored form, see pausesKey.
func (p *Pause) text() string {
	return fmt.Sprintf("%d %d %d %d %d %s",
		p.Until.UnixMilli(), milli(p.ProbeUntil), p.Since.UnixMilli(), p.Times, p.Code, p.Reason)
}

// milli returns t in Unix milliseconds, or 0 for the zero Time.
func milli(t store.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// parsePause parses the stored form. Text in another form counts as no pause.
func parsePause(appID, text string) (Pause, bool) {
	var until, probe, since int64
	p := Pause{AppID: appID}
	if _, err := fmt.Sscanf(text, "%d %d %d %d %d %s", &until, &probe, &since, &p.Times, &p.Code, &p.Reason); err != nil {
		return Pause{}, false
	}
	p.Until, p.Since = store.At(time.UnixMilli(until)), store.At(time.UnixMilli(since))
	if probe > 0 {
		p.ProbeUntil = store.At(time.UnixMilli(probe))
	}
	return p, true
}
