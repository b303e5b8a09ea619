package activity

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// SeriesStep is the length of one point of a [Series].
	SeriesStep = 15 * time.Second
	// SeriesPoints is the number of points of a [Series].
	SeriesPoints = int(Window / SeriesStep)

	windowSlots     = int64(Window / Slot)
	slotsPerStep    = int64(SeriesStep / Slot)
	lastMinuteSlots = int64(time.Minute / Slot)

	// writeDelay is how long after its end a slot counts as complete. Processes write once a
	// second.
	writeDelay = 1500 * time.Millisecond
	// cacheAfter is how long after its end a slot is no longer read from Redis. It leaves
	// room for clock differences and for a short outage of Redis.
	cacheAfter = 15 * time.Second
	// slotsPerRead is how many slots are read in one round trip.
	slotsPerRead = 30
)

// Recent is the work of all processes in the last Window.
type Recent struct {
	Until   time.Time          // end of the window, some seconds ago: later slots are incomplete
	Apps    map[string]*Series // apps that had work, by appid
	Workers int                // processes that are alive
}

// Series is the work done for one app.
type Series struct {
	Total      Tally // the whole window
	LastMinute Tally // the last minute of the window
	// cloudIDs that reached each final status, per step, the oldest first.
	Resolved, Failed, Expired []int64
}

// Reader reads what [Recorder] writes. It caches slots that can no longer change, so a call
// reads only the slots of the last seconds from Redis. It is safe for concurrent use.
type Reader struct {
	rdb redis.Cmdable

	mu     sync.Mutex
	cached map[int64]map[string]Tally // by slot and app; guarded by mu
}

// NewReader returns a reader of rdb. The caller closes rdb.
func NewReader(rdb redis.Cmdable) *Reader {
	return &Reader{rdb: rdb, cached: make(map[int64]map[string]Tally)}
}

// slotRead is the content of one slot.
type slotRead struct {
	apps map[string]Tally
	// Every process that wrote the slot, including idle ones.
	processes map[string]struct{}
}

// Read returns the window that ends a few seconds before now.
func (r *Reader) Read(ctx context.Context, now time.Time) (Recent, error) {
	end := slotOf(now.Add(-writeDelay)) // the first incomplete slot
	first, newest := end-windowSlots, slotOf(now)
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.DeleteFunc(r.cached, func(slot int64, _ map[string]Tally) bool { return slot < first })
	var missing []int64
	// The open slot is included because it shows which processes are alive.
	for slot := first; slot <= newest; slot++ {
		if _, known := r.cached[slot]; !known {
			missing = append(missing, slot)
		}
	}
	fresh, err := r.fetch(ctx, missing)
	if err != nil {
		return Recent{}, fmt.Errorf("reading the activity: %w", err)
	}
	w := Recent{Until: time.Unix(end*int64(Slot.Seconds()), 0).UTC(), Apps: make(map[string]*Series)}
	// A process is alive if it wrote one of the last two complete slots or a newer one.
	alive := make(map[string]struct{})
	for slot := end - 2; slot <= newest; slot++ {
		maps.Copy(alive, fresh[slot].processes)
	}
	w.Workers = len(alive)
	stable := slotOf(now.Add(-cacheAfter))
	for slot := first; slot < end; slot++ {
		apps, known := r.cached[slot]
		if !known {
			apps = fresh[slot].apps
			if slot < stable {
				r.cached[slot] = apps
			}
		}
		w.add(apps, slot-first)
	}
	return w, nil
}

// fetch reads slots, slotsPerRead of them per round trip.
func (r *Reader) fetch(ctx context.Context, slots []int64) (map[int64]slotRead, error) {
	read := make(map[int64]slotRead, len(slots))
	for len(slots) > 0 {
		page := slots[:min(slotsPerRead, len(slots))]
		slots = slots[len(page):]
		fields := make([]*redis.MapStringStringCmd, len(page))
		_, err := r.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
			for i, slot := range page {
				fields[i] = p.HGetAll(ctx, activityKey(slot))
			}
			return nil
		})
		if err != nil && !errors.Is(err, redis.Nil) {
			return nil, err
		}
		for i, slot := range page {
			read[slot] = parseSlot(fields[i].Val())
		}
	}
	return read, nil
}

// parseSlot adds up what the processes reported. A value that does not parse, for instance from
// a later version, counts as nothing.
func parseSlot(fields map[string]string) slotRead {
	slot := slotRead{apps: make(map[string]Tally), processes: make(map[string]struct{}, len(fields))}
	for process, text := range fields {
		var apps map[string]Tally
		slot.processes[process] = struct{}{}
		if json.Unmarshal([]byte(text), &apps) != nil {
			continue
		}
		for appID, tally := range apps {
			sum := slot.apps[appID]
			sum.Add(&tally)
			slot.apps[appID] = sum
		}
	}
	return slot
}

// add adds the n-th slot of the window.
func (w *Recent) add(apps map[string]Tally, n int64) {
	for appID, tally := range apps {
		s := w.Apps[appID]
		if s == nil {
			// One allocation holds all three series.
			points := make([]int64, 3*SeriesPoints)
			s = &Series{
				Resolved: points[:SeriesPoints:SeriesPoints],
				Failed:   points[SeriesPoints : 2*SeriesPoints : 2*SeriesPoints],
				Expired:  points[2*SeriesPoints:],
			}
			w.Apps[appID] = s
		}
		s.Total.Add(&tally)
		if n >= windowSlots-lastMinuteSlots {
			s.LastMinute.Add(&tally)
		}
		step := n / slotsPerStep
		s.Resolved[step] += tally.Resolved
		s.Failed[step] += tally.Failed
		s.Expired[step] += tally.Expired
	}
}
