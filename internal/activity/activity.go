// Package activity records what the workers do, per app and in steps of five seconds, and reads
// the last 15 minutes back for the status page. A [Recorder] writes the counts of one process to
// Redis. A [Reader] adds up those of all processes.
package activity

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

	"cloudidq/store"
)

// The layout in Redis. Keys expire after 16 minutes:
//
//	cloudidq:activity:N    hash of the five seconds that begin at Unix second 5·N
//	                       field  the process, a random name
//	                       value  JSON: appid → its Tally; {} from an idle process
//
// A process writes only its own field, and always writes it whole. A write can therefore be
// repeated, and processes do not disturb each other. Each write is two commands per slot. Its
// size grows with the apps that had work in the slot, not with all configured apps.
const (
	activityPrefix = "cloudidq:activity:"

	// Slot is the length of one slot, the finest step in which activity is reported.
	Slot = 5 * time.Second
	// Window is how far back activity is reported.
	Window = 15 * time.Minute

	flushInterval = time.Second
	activityTTL   = Window + time.Minute
	// lastFlushTimeout bounds the last write, when the process stops.
	lastFlushTimeout = 2 * time.Second
)

// Tally counts the work done for one app in a period. The JSON names are short because Redis
// stores a Tally per app, process and slot.
type Tally struct {
	Resolved int64     `json:"r,omitempty"` // cloudIDs that reached this status
	Failed   int64     `json:"f,omitempty"`
	Expired  int64     `json:"e,omitempty"`
	Requests int64     `json:"q,omitempty"` // requests to WeChat
	Sent     int64     `json:"s,omitempty"` // cloudIDs in them, counted again if repeated
	Took     Latencies `json:"l,omitempty"` // from acceptance to the final status
}

// Finished returns how many cloudIDs reached a final status.
func (t *Tally) Finished() int64 { return t.Resolved + t.Failed + t.Expired }

// Add adds other to t.
func (t *Tally) Add(other *Tally) {
	t.Resolved += other.Resolved
	t.Failed += other.Failed
	t.Expired += other.Expired
	t.Requests += other.Requests
	t.Sent += other.Sent
	t.Took.add(other.Took)
}

// Recorder counts the work of this process in memory. While Run runs, it writes the counts to
// Redis once a second. Its methods are safe for concurrent use.
type Recorder struct {
	rdb     redis.Cmdable
	process string
	now     func() time.Time

	mu      sync.Mutex
	slots   map[int64]map[string]*Tally // not yet written, by slot and app; guarded by mu
	written int64                       // the newest slot written to Redis; guarded by mu
}

// NewRecorder returns a recorder that has counted nothing yet. The caller closes rdb, after
// Run returns.
func NewRecorder(rdb redis.Cmdable) *Recorder {
	return &Recorder{rdb: rdb, process: rand.Text()[:12], now: time.Now, slots: make(map[int64]map[string]*Tally)}
}

// Finished counts a cloudID that reached the final status, and how long that took since its
// acceptance. A status that is not final counts nothing.
func (a *Recorder) Finished(appID string, status store.Status, took time.Duration) {
	if !status.Final() {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	t := a.tally(appID)
	switch status {
	case store.Resolved:
		t.Resolved++
	case store.Failed:
		t.Failed++
	default:
		t.Expired++
	}
	t.Took.count(took)
}

// Sent counts requests to WeChat and the cloudIDs in them.
func (a *Recorder) Sent(appID string, requests, cloudIDs int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	t := a.tally(appID)
	t.Requests += int64(requests)
	t.Sent += int64(cloudIDs)
}

// tally returns the app's Tally of the current slot. The caller holds mu.
func (a *Recorder) tally(appID string) *Tally {
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

// slotOf returns the number of the slot that contains t.
func slotOf(t time.Time) int64 { return t.Unix() / int64(Slot.Seconds()) }

func activityKey(slot int64) string { return activityPrefix + strconv.FormatInt(slot, 10) }

// Run writes the counts once a second until ctx is canceled, then writes once more. It logs
// only the first of several failures in a row.
func (a *Recorder) Run(ctx context.Context, log *slog.Logger) {
	tick := time.NewTicker(flushInterval)
	defer tick.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			// ctx is canceled already, so the last write needs its own deadline.
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastFlushTimeout)
			defer cancel()
			if err := a.flush(last); err != nil && !failing {
				log.Warn("writing the last activity failed", "error", err)
			}
			return
		case <-tick.C:
			err := a.flush(ctx)
			if err != nil && !failing && ctx.Err() == nil {
				log.Warn("writing activity failed; the status page lacks this process", "error", err)
			}
			failing = err != nil
		}
	}
}

// flush writes what was counted since the last flush. If the write fails, the counts stay in
// memory until they are older than Window.
func (a *Recorder) flush(ctx context.Context) error {
	current := slotOf(a.now())
	texts, err := a.unwritten(current)
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
		// The current slot stays in memory: it still grows and is written again.
		if slot < current {
			delete(a.slots, slot)
		}
	}
	return nil
}

// unwritten returns the slots to write, as JSON, and drops those too old to be read. If a process
// has nothing to report for the current slot, it reports once that it is alive.
func (a *Recorder) unwritten(current int64) (map[int64][]byte, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	oldest := current - int64(Window/Slot)
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
