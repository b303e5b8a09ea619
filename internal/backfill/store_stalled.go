package backfill

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// Stalled returns the backfills with pending lines that have not changed since the given time.
// done holds the backfills that earlier calls found finished. Stalled updates done and does not
// read those again.
func (b *Store) Stalled(ctx context.Context, since time.Time, done map[string]bool) ([]Backfill, error) {
	ids, err := b.rdb.ZRange(ctx, backfillPrefix+"all", 0, -1).Result()
	if err != nil {
		return nil, fmt.Errorf("listing backfills: %w", err)
	}
	listed := make(map[string]bool, len(ids))
	rows := make(map[string]*redis.MapStringStringCmd)
	_, err = b.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, id := range ids {
			listed[id] = true
			if !done[id] {
				rows[id] = p.HGetAll(ctx, backfillPrefix+id)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("listing backfills: %w", err)
	}
	// Backfills that have left the list need no entry any more.
	for id := range done {
		if !listed[id] {
			delete(done, id)
		}
	}
	var stalled []Backfill
	for id, row := range rows {
		bf := parseBackfill(id, row.Val())
		switch {
		// A backfill whose retention is over has no fields and needs no second read either. A
		// canceled one may still receive a window that was begun before, so it must have been
		// finished for a while.
		case len(row.Val()) == 0 || bf.Finished() && bf.UpdatedAt.Before(since):
			done[id] = true
		case bf.Pending > 0 && bf.UpdatedAt.Before(since):
			stalled = append(stalled, bf)
		}
	}
	return stalled, nil
}

// OpenChunk is a chunk with cloudIDs that have no counted final status yet.
type OpenChunk struct {
	Number   int
	CloudIDs []string
}

// OpenChunks returns the open chunks among up to most chunks, starting at chunk number from.
// more reports whether further chunks follow. A chunk that is not committed is not open,
// because its task may not exist yet.
func (b *Store) OpenChunks(
	ctx context.Context, bf *Backfill, from, most int,
) (open []OpenChunk, more bool, err error) {
	to := min(from+most, bf.chunks)
	rows := make([]*redis.SliceCmd, 0, most)
	_, err = b.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for chunk := from; chunk < to; chunk++ {
			rows = append(rows, p.HMGet(ctx, backfillPrefix+bf.ID+":c:"+strconv.Itoa(chunk), "n", "in",
				"resolved", "failed", "expired", "ids"))
		}
		return nil
	})
	if err != nil {
		return nil, false, fmt.Errorf("reading chunks: %w", err)
	}
	for i, row := range rows {
		value := func(i int) string { text, _ := row.Val()[i].(string); return text }
		number := func(i int) int { n, _ := strconv.Atoi(value(i)); return n }
		// Skip a chunk that is not committed, or whose cloudIDs are all counted.
		if value(1) == "" || number(0) <= number(2)+number(3)+number(4) {
			continue
		}
		ids, err := b.openIDs(bf.AppID, bf.ID, from+i, value(5))
		if err != nil {
			return nil, false, fmt.Errorf("reading chunks: %w", err)
		}
		open = append(open, OpenChunk{from + i, ids})
	}
	return open, to < bf.chunks, nil
}
