package queue

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// archiveSkew is how many seconds before the newest archived task a new one may appear. The
	// time of archiving comes from the clock of the machine that archives, in whole seconds.
	archiveSkew = int64(time.Minute / time.Second)
	// archiveRecent is the number of seconds before the newest task within which new tasks
	// usually appear. They are counted separately. When the archive is at asynq's size limit,
	// each new task removes the oldest one, and the total count does not change.
	archiveRecent = int64(3)
	// archiveFullEvery is how often the whole span of archiveSkew is read, in case the counts have
	// hidden a new task.
	archiveFullEvery = 30 * time.Second
)

// archive tracks the archived tasks of a queue for this process. If there are no new tasks, a scan
// costs two Redis commands, for any number of archived tasks. New tasks cost the reads for them.
type archive struct {
	rdb redis.UniversalClient
	key string

	scanned bool                 // the first scan has been made
	newest  int64                // when the newest task was archived, Unix seconds
	seen    map[string]int64     // by id: Unix seconds of the tasks within archiveSkew
	fullAt  time.Time            // when the whole span of archiveSkew is read next
	open    map[string]openEntry // by id: tasks that are not done yet
}

// openEntry is an archived task that the redactor still has to check.
type openEntry struct {
	archivedAt int64     // Unix seconds
	next       time.Time // when it is due for a check
}

func newArchive(rdb redis.UniversalClient, queue string) *archive {
	return &archive{
		rdb: rdb, key: stateKey(queue, stateArchived),
		seen: make(map[string]int64), open: make(map[string]openEntry),
	}
}

// scan finds the tasks that were archived since the last scan. The first scan finds all of them.
func (a *archive) scan(ctx context.Context, now time.Time) error {
	if !a.scanned {
		if err := a.readAll(ctx, now); err != nil {
			return err
		}
		a.scanned, a.fullAt = true, now.Add(archiveFullEvery)
		return nil
	}
	from := max(0, a.newest-archiveSkew)
	// Drop the tasks before archiveSkew, and count the known ones within archiveRecent.
	known := 0
	for id, at := range a.seen {
		if at < from {
			delete(a.seen, id)
		} else if at >= a.newest-archiveRecent {
			known++
		}
	}
	if !now.Before(a.fullAt) {
		a.fullAt = now.Add(archiveFullEvery)
		return a.readSince(ctx, from, now)
	}
	all, recent, err := a.count(ctx, from)
	if err != nil {
		return err
	}
	// The larger of both differences is the number of new tasks.
	return a.readNewest(ctx, from, max(all-len(a.seen), recent-known), now)
}

// count returns how many tasks were archived since from (Unix seconds), and how many of them
// within archiveRecent.
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

// readSince reads all tasks that were archived since from (Unix seconds). It forgets the
// tasks that are gone.
func (a *archive) readSince(ctx context.Context, from int64, now time.Time) error {
	was := a.seen
	a.seen = make(map[string]int64, len(was))
	return a.read(ctx, from, func(id string, at int64) bool {
		if before, known := was[id]; known && before == at {
			a.seen[id] = at
		} else {
			a.add(id, at, now)
		}
		return true
	})
}

// readAll reads all archived tasks. It reads by cursor, so it misses no task while
// others come and go.
func (a *archive) readAll(ctx context.Context, now time.Time) error {
	for cursor := uint64(0); ; {
		pairs, next, err := a.rdb.ZScan(ctx, a.key, cursor, "", taskPage).Result()
		if err != nil {
			return fmt.Errorf("listing archived tasks: %w", err)
		}
		for i := 0; i+1 < len(pairs); i += 2 {
			if at, err := strconv.ParseFloat(pairs[i+1], 64); err == nil {
				a.add(pairs[i], int64(at), now)
			}
		}
		if cursor = next; cursor == 0 {
			return nil
		}
	}
}

// readNewest reads backwards from the newest task, until it has found the number of new
// tasks in missing.
func (a *archive) readNewest(ctx context.Context, from int64, missing int, now time.Time) error {
	if missing <= 0 {
		return nil
	}
	return a.read(ctx, from, func(id string, at int64) bool {
		if before, known := a.seen[id]; !known || before != at {
			a.add(id, at, now)
			missing--
		}
		return missing > 0
	})
}

// read calls visit for each task that was archived since from (Unix seconds), newest first. It
// reads no further page once visit returned false.
func (a *archive) read(
	ctx context.Context, from int64, visit func(id string, at int64) (more bool),
) error {
	for offset := int64(0); ; offset += taskPage {
		page, err := a.rdb.ZRangeArgsWithScores(ctx, redis.ZRangeArgs{
			Key: a.key, ByScore: true, Rev: true, Start: "+inf", Stop: from,
			Offset: offset, Count: taskPage,
		}).Result()
		if err != nil {
			return fmt.Errorf("listing archived tasks: %w", err)
		}
		more := len(page) == taskPage
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

// add makes an archived task due for a check at once.
func (a *archive) add(id string, at int64, now time.Time) {
	a.newest = max(a.newest, at)
	if at >= a.newest-archiveSkew {
		a.seen[id] = at
	}
	a.open[id] = openEntry{at, now}
}

// due returns the ids of the tasks that are due for a check.
func (a *archive) due(now time.Time) []string {
	var ids []string
	for id, one := range a.open {
		if !now.Before(one.next) {
			ids = append(ids, id)
		}
	}
	return ids
}

func (a *archive) archivedAt(id string) int64 { return a.open[id].archivedAt }

// reschedule sets the time of the next check of a task. Zero means never.
func (a *archive) reschedule(id string, next time.Time) {
	if next.IsZero() {
		delete(a.open, id)
		return
	}
	a.open[id] = openEntry{a.open[id].archivedAt, next}
}
