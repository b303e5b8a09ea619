package worker

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// archiveSkew is how far back of the newest archived task new ones may appear: the moment of archiving is that of the
	// machine which archives, in whole seconds.
	archiveSkew = int64(time.Minute / time.Second)
	// archiveRecent is within which new ones appear as a rule. They are counted apart: at asynq's limit each new task pushes
	// the oldest one off the other end, and the count of all stays the same.
	archiveRecent = int64(3)
	// archiveWhole is how often all of archiveSkew is read, should the counts have hidden a new task.
	archiveWhole = 30 * time.Second
)

// archive is what this process knows of the archived tasks of a queue. Looking costs two commands while nothing is new,
// however many there are; what is new costs its own reading.
type archive struct {
	rdb redis.UniversalClient
	key string

	begun  bool
	newest int64                // Unix seconds of the last task that was archived
	seen   map[string]int64     // when those of the last archiveSkew were archived
	whole  time.Time            // when all of archiveSkew is read next
	open   map[string]openEntry // tasks that are to be looked at
}

// openEntry is an archived task that is not done with.
type openEntry struct {
	archivedAt int64     // Unix seconds
	at         time.Time // when it is to be looked at
}

func newArchive(rdb redis.UniversalClient, queue string) *archive {
	return &archive{
		rdb: rdb, key: "asynq:{" + queue + "}:" + stateArchived, seen: make(map[string]int64), open: make(map[string]openEntry),
	}
}

// look finds the tasks that have been archived since the last time, and at first all of them.
func (a *archive) look(ctx context.Context, now time.Time) error {
	if !a.begun {
		if err := a.readAll(ctx, now); err != nil {
			return err
		}
		a.begun, a.whole = true, now.Add(archiveWhole)
		return nil
	}
	from := max(0, a.newest-archiveSkew)
	known := 0
	for id, at := range a.seen {
		if at < from {
			delete(a.seen, id)
		} else if at >= a.newest-archiveRecent {
			known++
		}
	}
	if !now.Before(a.whole) {
		a.whole = now.Add(archiveWhole)
		return a.readWhole(ctx, from, now)
	}
	all, recent, err := a.count(ctx, from)
	if err != nil {
		return err
	}
	return a.readNewest(ctx, from, max(all-len(a.seen), recent-known), now)
}

// count is how many tasks have been archived since a moment, and how many of them lately.
func (a *archive) count(ctx context.Context, from int64) (all, recent int, err error) {
	var counts [2]*redis.IntCmd
	_, err = a.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, since := range [...]int64{from, a.newest - archiveRecent} {
			counts[i] = p.ZCount(ctx, a.key, strconv.FormatInt(since, 10), "+inf")
		}
		return nil
	})
	if err != nil {
		return 0, 0, fmt.Errorf("counting archived tasks: %w", err)
	}
	return int(counts[0].Val()), int(counts[1].Val()), nil
}

// readWhole reads all that has been archived since a moment, and forgets what is not there any more.
func (a *archive) readWhole(ctx context.Context, from int64, now time.Time) error {
	was := a.seen
	a.seen = make(map[string]int64, len(was))
	return a.read(ctx, from, func(id string, at int64) bool {
		if before, known := was[id]; known && before == at {
			a.seen[id] = at
		} else {
			a.note(id, at, now)
		}
		return true
	})
}

// readAll reads by cursor, so that no task slips past while others come and go.
func (a *archive) readAll(ctx context.Context, now time.Time) error {
	for cursor := uint64(0); ; {
		pairs, next, err := a.rdb.ZScan(ctx, a.key, cursor, "", queuedPage).Result()
		if err != nil {
			return fmt.Errorf("listing archived tasks: %w", err)
		}
		for i := 0; i+1 < len(pairs); i += 2 {
			if at, err := strconv.ParseFloat(pairs[i+1], 64); err == nil {
				a.note(pairs[i], int64(at), now)
			}
		}
		if cursor = next; cursor == 0 {
			return nil
		}
	}
}

// readNewest reads from the newest backwards until it has found as many new tasks as are missing.
func (a *archive) readNewest(ctx context.Context, from int64, missing int, now time.Time) error {
	if missing <= 0 {
		return nil
	}
	return a.read(ctx, from, func(id string, at int64) bool {
		if before, known := a.seen[id]; !known || before != at {
			a.note(id, at, now)
			missing--
		}
		return missing > 0
	})
}

// read calls visit with what has been archived since a moment, the newest first, until visit has enough.
func (a *archive) read(ctx context.Context, from int64, visit func(id string, at int64) (more bool)) error {
	for offset := int64(0); ; offset += queuedPage {
		page, err := a.rdb.ZRangeArgsWithScores(ctx, redis.ZRangeArgs{
			Key: a.key, ByScore: true, Rev: true, Start: "+inf", Stop: from, Offset: offset, Count: queuedPage,
		}).Result()
		if err != nil {
			return fmt.Errorf("listing archived tasks: %w", err)
		}
		more := len(page) == queuedPage
		for i := range page {
			if !visit(fmt.Sprint(page[i].Member), int64(page[i].Score)) {
				more = false
			}
		}
		if !more {
			return nil
		}
	}
}

// note has a task looked at.
func (a *archive) note(id string, at int64, now time.Time) {
	a.newest = max(a.newest, at)
	if at >= a.newest-archiveSkew {
		a.seen[id] = at
	}
	a.open[id] = openEntry{at, now}
}

// due are the tasks to be looked at now.
func (a *archive) due(now time.Time) []string {
	var ids []string
	for id, one := range a.open {
		if !now.Before(one.at) {
			ids = append(ids, id)
		}
	}
	return ids
}

func (a *archive) archivedAt(id string) int64 { return a.open[id].archivedAt }

// settle notes when a task is to be looked at again; zero = never.
func (a *archive) settle(id string, again time.Time) {
	if again.IsZero() {
		delete(a.open, id)
		return
	}
	a.open[id] = openEntry{a.open[id].archivedAt, again}
}
