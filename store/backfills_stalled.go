package store

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// Stalled returns the backfills that have pending lines, and in which no line has ended or come in since a moment. done is what former calls have found finished, and is brought up to date: those are not read again.
func (b *Backfills) Stalled(ctx context.Context, since time.Time, done map[string]bool) ([]Backfill, error) {
	ids, err := b.rdb.ZRange(ctx, backfillPrefix+"all", 0, -1).Result()
	if err != nil {
		return nil, fmt.Errorf("listing backfills: %w", err)
	}
	there := make(map[string]bool, len(ids))
	rows := make(map[string]*redis.MapStringStringCmd)
	_, err = b.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, id := range ids {
			there[id] = true
			if !done[id] {
				rows[id] = p.HGetAll(ctx, backfillPrefix+id)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("listing backfills: %w", err)
	}
	for id := range done {
		if !there[id] {
			delete(done, id)
		}
	}
	var stalled []Backfill
	for id, row := range rows {
		of := parseBackfill(id, row.Val())
		switch {
		case len(row.Val()) == 0 || of.Finished():
			done[id] = true
		case of.Pending > 0 && of.UpdatedAt.Before(since):
			stalled = append(stalled, of)
		}
	}
	return stalled, nil
}

// OpenChunk is a chunk of a backfill with cloudIDs that are not counted yet.
type OpenChunk struct {
	Number   int
	CloudIDs []string
}

// OpenChunks returns the open ones among some chunks of a backfill, from a number on, and reports whether there are chunks
// behind them. A chunk whose task is still to be written is none.
func (b *Backfills) OpenChunks(ctx context.Context, of *Backfill, from, most int) (open []OpenChunk, more bool, err error) {
	to := min(from+most, of.chunks)
	rows := make([]*redis.SliceCmd, 0, most)
	_, err = b.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for chunk := from; chunk < to; chunk++ {
			rows = append(rows, p.HMGet(ctx, backfillPrefix+of.ID+":c:"+strconv.Itoa(chunk), "n", "in", "resolved", "failed", "expired", "ids"))
		}
		return nil
	})
	if err != nil {
		return nil, false, fmt.Errorf("reading chunks: %w", err)
	}
	for i, row := range rows {
		value := func(i int) string { text, _ := row.Val()[i].(string); return text }
		number := func(i int) int { n, _ := strconv.Atoi(value(i)); return n }
		if value(1) == "" || number(0) <= number(2)+number(3)+number(4) {
			continue
		}
		ids, err := b.openIDs(of.AppID, of.ID, from+i, value(5))
		if err != nil {
			return nil, false, fmt.Errorf("reading chunks: %w", err)
		}
		open = append(open, OpenChunk{from + i, ids})
	}
	return open, to < of.chunks, nil
}
