package store

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// What the processes do is kept in Redis for a quarter of an hour, for the status page:
//
//	cloudidq:activity:N    hash of the five seconds that begin at Unix second 5·N: what each process did in them
//	                       field  the process, a random name
//	                       value  JSON: appid → its Tally; {} from a process that was there and had nothing to do
//
// A process writes the whole of its own field, never a part of another's, so a write may be repeated and no two
// processes disturb each other. A write is two commands whatever was done; its size grows with the apps that had
// something to do, not with those there are.
const (
	activityPrefix = "cloudidq:activity:"

	// ActivitySlot is the finest step in which activity is told.
	ActivitySlot = 5 * time.Second
	// ActivityWindow is how far back it is told.
	ActivityWindow = 15 * time.Minute

	activityFlush = time.Second
	activityTTL   = ActivityWindow + time.Minute
	// activityLast bounds the last write, when the process ends.
	activityLast = 2 * time.Second
)

// Tally is what was done for an app in some time. The names of the fields are short because there is one per app, process
// and slot.
type Tally struct {
	Resolved int64     `json:"r,omitempty"` // cloudIDs that ended so
	Failed   int64     `json:"f,omitempty"`
	Expired  int64     `json:"e,omitempty"`
	Requests int64     `json:"q,omitempty"` // to WeChat
	Sent     int64     `json:"s,omitempty"` // cloudIDs in those, a repeated one each time
	Took     Latencies `json:"l,omitempty"` // from acceptance to the end
}

// Ended is how many cloudIDs have ended.
func (t *Tally) Ended() int64 { return t.Resolved + t.Failed + t.Expired }

// Add adds another tally to t.
func (t *Tally) Add(other *Tally) {
	t.Resolved += other.Resolved
	t.Failed += other.Failed
	t.Expired += other.Expired
	t.Requests += other.Requests
	t.Sent += other.Sent
	t.Took.add(other.Took)
}

// Activity counts what this process does, in memory, and writes it to Redis once a second while Run runs. Its methods
// are safe for concurrent use.
type Activity struct {
	rdb     redis.Cmdable
	process string
	now     func() time.Time

	mu      sync.Mutex
	slots   map[int64]map[string]*Tally // what is to be written, by slot and app; guarded by mu
	written int64                       // the newest slot that Redis has; guarded by mu
}

// NewActivity returns a count that has not started. rdb stays the caller's to close, after Run.
func NewActivity(rdb redis.Cmdable) *Activity {
	return &Activity{rdb: rdb, process: rand.Text()[:12], now: time.Now, slots: make(map[int64]map[string]*Tally)}
}

// Ended counts the end of a cloudID, and how long it took from its acceptance.
func (a *Activity) Ended(appID string, status Status, took time.Duration) {
	if !status.Final() {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	t := a.tally(appID)
	switch status {
	case Resolved:
		t.Resolved++
	case Failed:
		t.Failed++
	default:
		t.Expired++
	}
	t.Took.count(took)
}

// Sent counts requests to WeChat, and the cloudIDs in them.
func (a *Activity) Sent(appID string, requests, cloudIDs int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	t := a.tally(appID)
	t.Requests += int64(requests)
	t.Sent += int64(cloudIDs)
}

// tally is the open one of an app. Called with mu held.
func (a *Activity) tally(appID string) *Tally {
	slot := slotOf(a.now())
	apps := a.slots[slot]
	if apps == nil {
		apps = make(map[string]*Tally)
		a.slots[slot] = apps
	}
	t := apps[appID]
	if t == nil {
		t = new(Tally)
		apps[appID] = t
	}
	return t
}

func slotOf(t time.Time) int64 { return t.Unix() / int64(ActivitySlot.Seconds()) }

func activityKey(slot int64) string { return activityPrefix + strconv.FormatInt(slot, 10) }

// Run writes until ctx ends, and then once more.
func (a *Activity) Run(ctx context.Context, log *slog.Logger) {
	tick := time.NewTicker(activityFlush)
	defer tick.Stop()
	away := false
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), activityLast)
			defer cancel()
			if err := a.flush(last); err != nil && !away {
				log.Warn("the last activity is not told", "error", err)
			}
			return
		case <-tick.C:
			err := a.flush(ctx)
			if err != nil && !away && ctx.Err() == nil {
				log.Warn("the status page does not hear of this process", "error", err)
			}
			away = err != nil
		}
	}
}

// flush writes what has been counted since the last time. What cannot be written stays, as long as anybody would read
// it.
func (a *Activity) flush(ctx context.Context) error {
	current := slotOf(a.now())
	texts, err := a.take(current)
	if err != nil || len(texts) == 0 {
		return err
	}
	_, err = a.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for slot, text := range texts {
			p.HSet(ctx, activityKey(slot), a.process, text)
			p.PExpire(ctx, activityKey(slot), activityTTL)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("writing the activity: %w", err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.written = current
	for slot := range texts {
		if slot < current { // the open one is written again, with what comes
			delete(a.slots, slot)
		}
	}
	return nil
}

// take returns what is to be written, and drops what is too old for that. A process that has nothing to tell of a slot
// tells that it is there.
func (a *Activity) take(current int64) (map[int64][]byte, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	oldest := current - int64(ActivityWindow/ActivitySlot)
	texts := make(map[int64][]byte)
	for slot, apps := range a.slots {
		if slot < oldest {
			delete(a.slots, slot)
			continue
		}
		text, err := json.Marshal(apps)
		if err != nil {
			return nil, fmt.Errorf("encoding the activity: %w", err)
		}
		texts[slot] = text
	}
	if _, busy := texts[current]; !busy && a.written != current {
		texts[current] = []byte("{}")
	}
	return texts, nil
}
