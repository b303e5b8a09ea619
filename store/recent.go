package store

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
	// SeriesStep is the step of a [Series].
	SeriesStep = 15 * time.Second
	// SeriesPoints is how many points a [Series] has.
	SeriesPoints = int(ActivityWindow / SeriesStep)

	windowSlots  = int64(ActivityWindow / ActivitySlot)
	slotsPerStep = int64(SeriesStep / ActivitySlot)
	latelySlots  = int64(time.Minute / ActivitySlot)

	// activityLate is how long after the end of a slot the processes have told of it: they do once a second.
	activityLate = 1500 * time.Millisecond
	// activitySettled is how long after its end a slot is read no more. Clocks differ, and Redis may have been away for
	// a moment.
	activitySettled = 15 * time.Second
	// activityPage is how many slots are read in one round trip.
	activityPage = 30
)

// RecentActivity is what all processes have done in the last quarter of an hour.
type RecentActivity struct {
	Until   time.Time          // its end, some seconds ago: what is younger is not complete
	Apps    map[string]*Series // those that had something to do, by appid
	Workers int                // processes that are alive
}

// Series is what was done for one app.
type Series struct {
	Total  Tally // of the whole window
	Lately Tally // of its last minute
	// Ends by step, the oldest first.
	Resolved, Failed, Expired []int64
}

// Recent reads what [Activity] writes. It remembers what cannot change any more, so that a look costs Redis the slots
// of the last seconds only. It is safe for concurrent use.
type Recent struct {
	rdb redis.Cmdable

	mu      sync.Mutex
	settled map[int64]map[string]Tally // by slot and app; guarded by mu
}

// NewRecent returns a reader of rdb, which stays the caller's to close.
func NewRecent(rdb redis.Cmdable) *Recent {
	return &Recent{rdb: rdb, settled: make(map[int64]map[string]Tally)}
}

// slotRead is what was read of one slot.
type slotRead struct {
	apps      map[string]Tally
	processes map[string]struct{}
}

// Read returns the window as it is now.
func (r *Recent) Read(ctx context.Context, now time.Time) (RecentActivity, error) {
	end := slotOf(now.Add(-activityLate)) // the first one that is not complete
	first, newest := end-windowSlots, slotOf(now)
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.DeleteFunc(r.settled, func(slot int64, _ map[string]Tally) bool { return slot < first })
	var missing []int64
	for slot := first; slot <= newest; slot++ { // with the open one: it tells who is alive
		if _, known := r.settled[slot]; !known {
			missing = append(missing, slot)
		}
	}
	fresh, err := r.fetch(ctx, missing)
	if err != nil {
		return RecentActivity{}, fmt.Errorf("reading the activity: %w", err)
	}
	w := RecentActivity{Until: time.Unix(end*int64(ActivitySlot.Seconds()), 0).UTC(), Apps: make(map[string]*Series)}
	alive := make(map[string]struct{})
	for slot := end - 2; slot <= newest; slot++ {
		maps.Copy(alive, fresh[slot].processes)
	}
	w.Workers = len(alive)
	settled := slotOf(now.Add(-activitySettled))
	for slot := first; slot < end; slot++ {
		apps, known := r.settled[slot]
		if !known {
			apps = fresh[slot].apps
			if slot < settled {
				r.settled[slot] = apps
			}
		}
		w.add(apps, slot-first)
	}
	return w, nil
}

// fetch reads slots, several in a round trip.
func (r *Recent) fetch(ctx context.Context, slots []int64) (map[int64]slotRead, error) {
	read := make(map[int64]slotRead, len(slots))
	for len(slots) > 0 {
		page := slots[:min(activityPage, len(slots))]
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

// parseSlot adds up what the processes have told. What cannot be read, as of a version to come, counts as nothing.
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

// add takes in the slot that is the n-th of the window.
func (w *RecentActivity) add(apps map[string]Tally, n int64) {
	for appID, tally := range apps {
		s := w.Apps[appID]
		if s == nil {
			points := make([]int64, 3*SeriesPoints)
			s = &Series{
				Resolved: points[:SeriesPoints:SeriesPoints],
				Failed:   points[SeriesPoints : 2*SeriesPoints : 2*SeriesPoints],
				Expired:  points[2*SeriesPoints:],
			}
			w.Apps[appID] = s
		}
		s.Total.Add(&tally)
		if n >= windowSlots-latelySlots {
			s.Lately.Add(&tally)
		}
		step := n / slotsPerStep
		s.Resolved[step] += tally.Resolved
		s.Failed[step] += tally.Failed
		s.Expired[step] += tally.Expired
	}
}
