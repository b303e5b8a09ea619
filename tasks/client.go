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

// enqueueTimeout bounds one write to Redis. It is independent of the callers' contexts, because
// one write of the group commit serves several callers.
const enqueueTimeout = 10 * time.Second

// enqueuer is the part of [asynq.Client] that a Client uses.
type enqueuer interface {
	EnqueueContext(ctx context.Context, task *asynq.Task, opts ...asynq.Option) (*asynq.TaskInfo, error)
}

// Client enqueues cloudIDs. It is safe for concurrent use and starts no goroutine before its
// first use.
//
// [Client.Resolve] is for the calls of a server. Calls that arrive together share one task and
// one Redis round trip, and each call returns only after Redis has the task. [Client.ResolveAll]
// is for bulk: it writes full tasks at once.
type Client struct {
	queue  enqueuer
	linger time.Duration
	tracer trace.Tracer // nil disables spans

	accepted acceptance
	commits  commits // group commits that are still open, see commit.go
}

// Options are the settings of a Client. The zero value is ready to use.
type Options struct {
	// CommitLinger is how long a call of Resolve waits for other calls to share its task. Zero
	// means 2 ms. A negative value disables the wait.
	CommitLinger time.Duration
	// Tracers creates a span for every call; nil disables spans. In both cases the task carries
	// the span of the caller's context, so that the worker can connect its spans to it.
	Tracers trace.TracerProvider
}

const defaultCommitLinger = 2 * time.Millisecond

// NewClient returns a client that uses rdb. The caller closes rdb, after it has closed the
// client.
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

// Request lists cloudIDs of one app to be resolved.
type Request struct {
	AppID    string
	Items    []Item
	Queue    string // empty means QueueEvents
	Webhook  string // endpoint for the results; empty means the app's default
	Backfill string // id of the backfill that the items belong to, if any
}

// Receipt describes an accepted request.
type Receipt struct {
	// AcceptedAt is the time of acceptance by Redis's clock, see [Client.Now].
	AcceptedAt time.Time
	// Enqueued is the number of items that Redis has. It is less than the number of requested
	// items only if ResolveAll returns an error.
	Enqueued int
}

// Resolve enqueues up to [MaxItems] cloudIDs, all or none, and returns once Redis has them.
//
// If the request is invalid, Resolve enqueues nothing and returns an [*InvalidError]. If ctx
// ends first, Resolve returns ctx's error, and the cloudIDs may or may not have been enqueued;
// you can safely repeat the call. After Close, Resolve returns [ErrClosed].
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

// ResolveAll enqueues any number of cloudIDs as full tasks, in order. It validates all items
// before it writes the first task. If an item is invalid, it enqueues nothing and returns an
// [*InvalidError]. If Redis fails midway, the receipt says how many items have been enqueued,
// and you can request the rest, req.Items[receipt.Enqueued:], again.
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

// writeAll writes full tasks. It returns the number of tasks and the id of the last one.
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

// Now returns the current time by Redis's clock, which is the clock for acceptance times. A
// lifetime may begin on one machine and end on another, so it must be measured by a clock that
// both share. The client reads Redis's clock before the first write, and again when a call needs
// it and the last reading is 30 seconds old. If Redis does not answer, the last measurement
// applies, or this machine's clock if there is none. A difference of less than a second counts
// as zero. The error is ctx's.
func (c *Client) Now(ctx context.Context) (time.Time, error) { return c.accepted.now(ctx, &c.commits) }

// Close writes the open group commits of Resolve and waits for their writes. Later calls of Resolve
// fail with [ErrClosed]. Close does not wait for calls of ResolveAll and WriteChunk in progress.
func (c *Client) Close() { c.commits.close(c) }

// payload converts the request to a payload and sets ObtainedAt of every item that has none.
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

// validateAll is validate without the limit on the number of items.
func validateAll(p ResolvePayload, now time.Time) error {
	if len(p.Items) <= MaxItems {
		return p.validate(now)
	}
	// The fields of the request are validated with the first item only. The other items follow
	// one by one.
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

// unique drops repeated items. It rejects a cloudID that occurs with two openids: nothing says
// which openid is right, and a task has one outcome per cloudID.
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

// nextChunk returns the longest prefix of items that fits into one task: at most MaxItems items,
// and no cloudID twice. A repeated cloudID starts the next task, which finds the record of the
// first task.
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

// write enqueues one task. No other caller may use the same id.
func (c *Client) write(ctx context.Context, p ResolvePayload, queue, id string, headers map[string]string) error {
	task, err := newResolveTask(p, queue, id, headers)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, enqueueTimeout)
	defer cancel()
	_, err = c.queue.EnqueueContext(ctx, task)
	// go-redis repeats a command if its answer is lost. No other caller uses this id, so a
	// conflict means that an earlier write of this task has arrived.
	if err != nil && !errors.Is(err, asynq.ErrTaskIDConflict) {
		return err
	}
	return nil
}
