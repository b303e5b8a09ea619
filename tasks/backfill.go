package tasks

import (
	"context"
	"regexp"
	"strconv"
)

// Chunk is a part of a backfill that becomes one task: up to [MaxItems] cloudIDs, in the order of the file. One that is
// repeated, with the same openid, may stand there again: the worker asks for it once and counts it as often.
type Chunk struct {
	Backfill string // its id
	Number   int    // of the chunk in the backfill, from 0
	AppID    string
	Webhook  string // endpoint for the results; empty = the app's default
	Items    []Item
}

// WriteChunk enqueues a chunk and returns once Redis has it. The task's id is made of backfill and number, so writing a
// chunk again is harmless while its task is there, and after that leads to a task which finds its cloudIDs done. The span of
// ctx is linked to what becomes of the chunk: below it, a large file would be one trace of a hundred thousand tasks.
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

// ChunkTaskID is the id of the task of a chunk.
func ChunkTaskID(backfill string, number int) string { return backfill + "_" + strconv.Itoa(number) }

var chunkTaskID = regexp.MustCompile(`^(.{1,64})_(0|[1-9]\d{0,8})$`)

// ParseChunkTaskID returns which chunk a task is, and false for the id of a task that is none.
func ParseChunkTaskID(id string) (backfill string, number int, ok bool) {
	parts := chunkTaskID.FindStringSubmatch(id)
	if parts == nil {
		return "", 0, false
	}
	number, _ = strconv.Atoi(parts[2]) // nine digits at most
	return parts[1], number, true
}
