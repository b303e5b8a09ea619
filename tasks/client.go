package tasks

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel/trace"
)

// enqueueTimeout bounds one write to Redis. It does not depend on the callers' contexts, because a write of the group
// commit serves many of them.
const enqueueTimeout = 10 * time.Second

// enqueuer is the part of [asynq.Client] that a Client uses.
type enqueuer interface {
	EnqueueContext(ctx context.Context, task *asynq.Task, opts ...asynq.Option) (*asynq.TaskInfo, error)
}

// Client puts cloudIDs into the queue. It is safe for concurrent use and starts no goroutine until it is used.
//
// There are two ways in. [Client.Resolve] is for the calls of a server: calls that arrive together share one task and
// one Redis round trip, and each is answered only after Redis has it. [Client.ResolveAll] is for bulk: it writes full
// tasks at once.
type Client struct {
	queue  enqueuer
	linger time.Duration
	tracer trace.Tracer // nil = no spans

	accepted acceptance
	commits  commits // the group commits that are still open, see commit.go
}

// Options are the settings of a Client; the zero value is fine.
type Options struct {
	// CommitLinger is how long a call of Resolve waits for others to share its task. Zero means 2 ms, a negative value
	// means not at all.
	CommitLinger time.Duration
	// Tracers makes a span of every call; nil = none. In either case the span of the caller's context goes along with the
	// task, so that the worker's can be told to belong to it.
	Tracers trace.TracerProvider
}

const defaultCommitLinger = 2 * time.Millisecond

// NewClient returns a client over rdb, which stays the caller's to close, after Close of the client.
func NewClient(rdb redis.UniversalClient, opts Options) *Client {
	c := newClient(asynq.NewClientFromRedisClient(rdb), opts)
	c.accepted.clock = NewClock(rdb)
	return c
}

func newClient(queue enqueuer, opts Options) *Client {
	if opts.CommitLinger == 0 {
		opts.CommitLinger = defaultCommitLinger
	}
	c := &Client{queue: queue, linger: opts.CommitLinger}
	if opts.Tracers != nil {
		c.tracer = opts.Tracers.Tracer("cloudidq/tasks")
	}
	return c
}

// Request asks for the open data of cloudIDs of one app.
type Request struct {
	AppID    string
	Items    []Item
	Queue    string // empty means QueueEvents
	Webhook  string // endpoint for the results; empty means the app's default
	Backfill string // id of the backfill the items belong to, if any
}

// Receipt is the answer to an accepted request.
type Receipt struct {
	// AcceptedAt is the moment of acceptance by Redis's clock, as [Client.Now] has it.
	AcceptedAt time.Time
	// Enqueued is how many items Redis has. Short of all of them only beside an error of ResolveAll.
	Enqueued int
}

// Resolve enqueues up to [MaxItems] cloudIDs, all or none, and returns once Redis has them.
//
// A bad request gets an [*InvalidError] and nothing is enqueued. If ctx ends first, its error is returned and the
// cloudIDs may or may not have been enqueued; asking again is harmless. After Close the error is [ErrClosed].
func (c *Client) Resolve(ctx context.Context, req Request) (Receipt, error) {
	now, err := c.Now(ctx)
	if err != nil {
		return Receipt{}, err
	}
	p, queue, err := req.payload(now)
	if err != nil {
		return Receipt{}, err
	}
	if err := p.validate(now); err != nil {
		return Receipt{}, err
	}
	if p.Items, err = unique(p.Items); err != nil {
		return Receipt{}, err
	}
	ctx, sending := c.startSend(ctx, p.AppID, queue, len(p.Items))
	taskID, err := c.commits.join(ctx, c, commitKey{p.AppID, queue, p.Webhook, p.Backfill}, p)
	sending.end(taskID, 1, err)
	if err != nil {
		return Receipt{}, fmt.Errorf("enqueuing %d cloudIDs: %w", len(p.Items), err)
	}
	return Receipt{AcceptedAt: p.AcceptedAt, Enqueued: len(p.Items)}, nil
}

// ResolveAll enqueues any number of cloudIDs as full tasks, in order. All of them are checked before the first is
// written: a bad one gets an [*InvalidError] and nothing is enqueued. If Redis fails midway the receipt says how many
// of the items are in; the rest, req.Items[receipt.Enqueued:], can be asked for again.
func (c *Client) ResolveAll(ctx context.Context, req Request) (Receipt, error) {
	now, err := c.Now(ctx)
	if err != nil {
		return Receipt{}, err
	}
	p, queue, err := req.payload(now)
	if err != nil {
		return Receipt{}, err
	}
	if err := validateAll(p, now); err != nil {
		return Receipt{}, err
	}
	ctx, sending := c.startSend(ctx, p.AppID, queue, len(p.Items))
	receipt, written, taskID, err := c.writeAll(ctx, p, queue)
	sending.end(taskID, written, err)
	return receipt, err
}

// writeAll writes full tasks. It returns how many, and the id of the last one.
func (c *Client) writeAll(ctx context.Context, p ResolvePayload, queue string) (receipt Receipt, written int, taskID string, err error) {
	headers := headersOf(spansOf(ctx))
	receipt = Receipt{AcceptedAt: p.AcceptedAt}
	for receipt.Enqueued < len(p.Items) {
		chunk := p
		chunk.Items = nextChunk(p.Items[receipt.Enqueued:])
		taskID = uuid.NewString()
		if err := c.write(ctx, chunk, queue, taskID, headers); err != nil {
			return receipt, written, taskID, fmt.Errorf("enqueuing %d cloudIDs, %d are in: %w", len(p.Items), receipt.Enqueued, err)
		}
		receipt.Enqueued += len(chunk.Items)
		written++
	}
	return receipt, written, taskID, nil
}

// Now is the present moment by Redis's clock, which says when cloudIDs are accepted: a lifetime that begins on one machine
// and ends on another runs by the clock they share. Redis is asked for it before the first write and once in 30 seconds of
// use. Where it does not answer, what it said last holds, and before that this machine's clock; less than a second between
// the two counts as none. The error is ctx's.
func (c *Client) Now(ctx context.Context) (time.Time, error) { return c.accepted.now(ctx, &c.commits) }

// Close writes what still waits for company, waits for every write, and fails later calls with [ErrClosed].
func (c *Client) Close() { c.commits.close(c) }

// payload turns the request into a payload whose items know when their lifetime began.
func (r Request) payload(now time.Time) (ResolvePayload, string, error) {
	queue := r.Queue
	if queue == "" {
		queue = QueueEvents
	}
	if queue != QueueEvents && queue != QueueBackfill {
		problem := fmt.Sprintf("must be %s or %s", QueueEvents, QueueBackfill)
		return ResolvePayload{}, "", &InvalidError{Faults: []Fault{{Field: "queue", Problem: problem}}}
	}
	items := make([]Item, len(r.Items))
	for i, it := range r.Items {
		if it.ObtainedAt.IsZero() {
			it.ObtainedAt = now
		}
		items[i] = it
	}
	return ResolvePayload{
		Version: PayloadVersion, AppID: r.AppID, Items: items,
		AcceptedAt: now, Webhook: r.Webhook, Backfill: r.Backfill,
	}, queue, nil
}

// validateAll is validate without the bound on the number of items.
func validateAll(p ResolvePayload, now time.Time) error {
	if len(p.Items) <= MaxItems {
		return p.validate(now)
	}
	head := p
	head.Items = p.Items[:1]
	v := validator{}
	if invalid, ok := errors.AsType[*InvalidError](head.validate(now)); ok {
		v.faults = invalid.Faults
	}
	for i := range p.Items[1:] {
		v.item(i+1, &p.Items[i+1], now)
	}
	return v.err()
}

// unique drops repeated items. One cloudID with two openids is refused: which of the two it belongs to cannot be told,
// and a task keeps one outcome per cloudID.
func unique(items []Item) ([]Item, error) {
	seen := make(map[string]int, len(items))
	kept := items[:0:0]
	var v validator
	for i, it := range items {
		first, repeated := seen[it.CloudID]
		switch {
		case !repeated:
			seen[it.CloudID] = i
			kept = append(kept, it)
		case items[first].OpenID != it.OpenID:
			v.add(fmt.Sprintf("items[%d].cloud_id", i), fmt.Sprintf("stands at items[%d] with another openid", first))
		}
	}
	return kept, v.err()
}

// nextChunk returns the longest head of items that fits into one task: at most MaxItems, no cloudID twice. A repeated
// one opens the next task and is settled there by the record of the first.
func nextChunk(items []Item) []Item {
	seen := make(map[string]struct{}, min(len(items), MaxItems))
	for i := range items {
		if _, repeated := seen[items[i].CloudID]; repeated || i == MaxItems {
			return items[:i]
		}
		seen[items[i].CloudID] = struct{}{}
	}
	return items
}

// write puts one task into Redis, under an id that is the caller's alone.
func (c *Client) write(ctx context.Context, p ResolvePayload, queue, id string, headers map[string]string) error {
	task, err := newResolveTask(p, queue, id, headers)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, enqueueTimeout)
	defer cancel()
	_, err = c.queue.EnqueueContext(ctx, task)
	// go-redis repeats a command whose answer was lost. The id is ours alone, so a conflict means that an earlier write
	// has arrived.
	if err != nil && !errors.Is(err, asynq.ErrTaskIDConflict) {
		return err
	}
	return nil
}
