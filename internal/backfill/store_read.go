package backfill

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// Counts counts the cloudIDs of a chunk by final status. A repeated cloudID counts each time.
type Counts struct{ Resolved, Failed, Expired int }

// Latest returns up to most backfills, the newest first.
func (b *Store) Latest(ctx context.Context, most int) ([]Backfill, error) {
	ids, err := b.rdb.ZRevRange(ctx, backfillPrefix+"all", 0, int64(most)-1).Result()
	if err != nil {
		return nil, fmt.Errorf("listing backfills: %w", err)
	}
	rows := make([]*redis.MapStringStringCmd, len(ids))
	if _, err := b.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, id := range ids {
			rows[i] = p.HGetAll(ctx, backfillPrefix+id)
		}
		return nil
	}); err != nil {
		return nil, fmt.Errorf("listing backfills: %w", err)
	}
	list := make([]Backfill, 0, len(ids))
	for i, row := range rows {
		if fields := row.Val(); len(fields) > 0 { // no fields: its retention is over
			list = append(list, parseBackfill(ids[i], fields))
		}
	}
	return list, nil
}

// Report records how many cloudIDs of a chunk have a final status. The counts are totals, not
// the difference to an earlier report, so Report may be repeated. It ignores a chunk that does
// not exist.
func (b *Store) Report(ctx context.Context, id string, chunk int, counts Counts) error {
	return b.reportCounts(ctx, id, chunk, counts, 0)
}

// ReportLost counts all cloudIDs of a chunk that have no final status yet as failed. Use it for
// a task whose payload cannot be read.
func (b *Store) ReportLost(ctx context.Context, id string, chunk int) error {
	return b.reportCounts(ctx, id, chunk, Counts{}, 1)
}

// reportCounts records the counts of a chunk. If rest is 1, all remaining cloudIDs have failed.
func (b *Store) reportCounts(
	ctx context.Context, id string, chunk int, counts Counts, rest int,
) error {
	if !backfillID.MatchString(id) {
		return nil // an external producer may write any name into a task
	}
	args := []any{chunk, counts.Resolved, counts.Failed, counts.Expired, rest}
	if _, err := b.runScript(ctx, b.report, id, args...); err != nil {
		return fmt.Errorf("reporting counts of a backfill: %w", err)
	}
	return nil
}

// Canceled reports whether a backfill is canceled, so that its cloudIDs must not be requested
// any more. It is false for an unknown backfill.
func (b *Store) Canceled(ctx context.Context, id string) (bool, error) {
	if !backfillID.MatchString(id) {
		return false, nil
	}
	state, err := b.rdb.HGet(ctx, backfillPrefix+id, "state").Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return false, fmt.Errorf("looking up a backfill: %w", err)
	}
	return State(state) == Canceled, nil
}

// Rejects returns up to most rejects in line order, starting at position from.
func (b *Store) Rejects(ctx context.Context, id string, from, most int) ([]Reject, error) {
	texts, err := b.list(ctx, id, "rejects", from, most)
	if err != nil {
		return nil, err
	}
	rejects := make([]Reject, len(texts))
	for i, text := range texts {
		if err := json.Unmarshal([]byte(text), &rejects[i]); err != nil {
			return nil, fmt.Errorf("reading rejects: %w", errAnswer)
		}
	}
	return rejects, nil
}

// Mark is a commit: how many lines were committed after it, and their digest.
type Mark struct {
	Lines  int
	Digest string
}

// Marks returns up to most marks, the oldest first, starting at position from.
func (b *Store) Marks(ctx context.Context, id string, from, most int) ([]Mark, error) {
	texts, err := b.list(ctx, id, "marks", from, most)
	if err != nil {
		return nil, err
	}
	marks := make([]Mark, len(texts))
	for i, text := range texts {
		lines, digest, _ := strings.Cut(strings.TrimSpace(text), " ")
		if marks[i].Lines, err = strconv.Atoi(lines); err != nil {
			return nil, fmt.Errorf("reading marks: %w", errAnswer)
		}
		marks[i].Digest = digest
	}
	return marks, nil
}

// list returns up to most elements of a list of a backfill, starting at position from.
func (b *Store) list(ctx context.Context, id, name string, from, most int) ([]string, error) {
	if !backfillID.MatchString(id) {
		return nil, ErrNotFound
	}
	texts, err := b.rdb.LRange(ctx, backfillPrefix+id+":"+name, int64(from), int64(from+most)-1).Result()
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	return texts, nil
}

// CloudIDs returns the cloudIDs of up to most chunks in line order, starting at chunk number from.
// more reports whether further chunks follow. It omits a chunk whose retention is over.
func (b *Store) CloudIDs(
	ctx context.Context, bf *Backfill, from, most int,
) (ids []string, more bool, err error) {
	// Read all chunks in one round trip.
	to := min(from+most, bf.chunks)
	stored := make([]*redis.StringCmd, 0, most)
	_, err = b.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for chunk := from; chunk < to; chunk++ {
			stored = append(stored, p.HGet(ctx, backfillPrefix+bf.ID+":c:"+strconv.Itoa(chunk), "ids"))
		}
		return nil
	})
	if err != nil && !errors.Is(err, redis.Nil) {
		return nil, false, fmt.Errorf("reading chunks: %w", err)
	}
	for i, cmd := range stored {
		if errors.Is(cmd.Err(), redis.Nil) {
			continue
		}
		if cmd.Err() != nil {
			return nil, false, fmt.Errorf("reading chunks: %w", cmd.Err())
		}
		chunk, err := b.openIDs(bf.AppID, bf.ID, from+i, cmd.Val())
		if err != nil {
			return nil, false, fmt.Errorf("reading chunks: %w", err)
		}
		ids = append(ids, chunk...)
	}
	return ids, to < bf.chunks, nil
}
