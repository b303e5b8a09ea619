package tasks

import (
	"context"
	"regexp"
	"strconv"
)

// Chunk is the part of a backfill that becomes one task: up to [MaxItems] cloudIDs, in the order
// of the file. A cloudID may occur more than once if the openid is the same. The worker sends it
// once and counts every occurrence.
type Chunk struct {
	Backfill string // id of the backfill
	Number   int    // number of the chunk in the backfill, from 0
	AppID    string
	Webhook  string // endpoint for the results; empty means the app's default
	Items    []Item
}

// WriteChunk enqueues a chunk and returns once Redis has it. The task's id consists of the
// backfill's id and the chunk's number, so you can safely write a chunk twice. While the first
// task exists, the second write has no effect. After that, it creates a task whose cloudIDs are
// already final.
//
// The task carries a link to the span of ctx, not the span as its parent. With a parent, a large
// file would become one trace of a hundred thousand tasks.
func (c *Client) WriteChunk(ctx context.Context, chunk Chunk) error {
	now, err := c.Now(ctx)
	if err != nil {
		return err
	}
	p := ResolvePayload{
		AppID: chunk.AppID, Items: chunk.Items, AcceptedAt: now, Webhook: chunk.Webhook, Backfill: chunk.Backfill,
	}
	return c.write(ctx, p, QueueBackfill, ChunkTaskID(chunk.Backfill, chunk.Number), linksOf(spansOf(ctx)))
}

// ChunkTaskID returns the task id of a chunk.
func ChunkTaskID(backfill string, number int) string { return backfill + "_" + strconv.Itoa(number) }

var chunkTaskID = regexp.MustCompile(`^(.{1,64})_(0|[1-9]\d{0,8})$`)

// ParseChunkTaskID returns the backfill and the chunk number of a task id. ok is false if the id
// is not a chunk's.
func ParseChunkTaskID(id string) (backfill string, number int, ok bool) {
	parts := chunkTaskID.FindStringSubmatch(id)
	if parts == nil {
		return "", 0, false
	}
	number, _ = strconv.Atoi(parts[2]) // nine digits at most
	return parts[1], number, true
}
