package tasks

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/trace"
)

// ErrClosed is returned by calls after [Client.Close].
var ErrClosed = errors.New("the client is closed")

// commitKey is what calls must have in common to share a task.
type commitKey struct{ appID, queue, webhook, backfill string }

// commit is a task that is being filled by concurrent calls.
type commit struct {
	payload ResolvePayload
	ids     map[string]struct{} // of payload.Items
	calls   []trace.SpanContext // of those that are traced
	timer   *time.Timer
	done    chan struct{} // closed when Redis has answered
	taskID  string        // set before done is closed, as is err
	err     error
}

// commits are the open commits of a Client. The zero value is ready.
type commits struct {
	mu      sync.Mutex
	open    map[commitKey]*commit // guarded by mu
	closed  bool                  // guarded by mu
	writing sync.WaitGroup        // Add only under mu and before closed
}

// join puts p into the open commit of its key, or opens one, and waits until Redis has it. A call's items never
// spread over two tasks, so that each call succeeds or fails as a whole. It returns the id of the task.
func (cs *commits) join(ctx context.Context, c *Client, key commitKey, p ResolvePayload) (taskID string, err error) {
	cm, err := cs.enter(c, key, p, spansOf(ctx))
	if err != nil {
		return "", err
	}
	select {
	case <-cm.done:
		return cm.taskID, cm.err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// spansOf is the span that a call is made in, if it is traced.
func spansOf(ctx context.Context) []trace.SpanContext {
	if span := trace.SpanContextFromContext(ctx); span.IsValid() {
		return []trace.SpanContext{span}
	}
	return nil
}

func (cs *commits) enter(c *Client, key commitKey, p ResolvePayload, span []trace.SpanContext) (*commit, error) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cs.closed {
		return nil, ErrClosed
	}
	cm := cs.open[key]
	if cm != nil && !cm.takes(p.Items) {
		cs.send(c, key, cm)
		cm = nil
	}
	if cm == nil {
		cm = cs.begin(c, key, p)
	}
	cm.add(p.Items)
	cm.calls = append(cm.calls, span...)
	if len(cm.payload.Items) == MaxItems || c.linger < 0 {
		cs.send(c, key, cm)
	}
	return cm, nil
}

// takes reports whether items fit in: a task has at most MaxItems and no cloudID twice, so that two calls for one
// cloudID, perhaps under different openids, are settled one after the other.
func (cm *commit) takes(items []Item) bool {
	if len(cm.payload.Items)+len(items) > MaxItems {
		return false
	}
	for i := range items {
		if _, there := cm.ids[items[i].CloudID]; there {
			return false
		}
	}
	return true
}

func (cm *commit) add(items []Item) {
	cm.payload.Items = append(cm.payload.Items, items...)
	for i := range items {
		cm.ids[items[i].CloudID] = struct{}{}
	}
}

// begin opens an empty commit for calls like p. Called with mu held.
func (cs *commits) begin(c *Client, key commitKey, p ResolvePayload) *commit {
	p.Items = nil
	cm := &commit{payload: p, ids: make(map[string]struct{}), done: make(chan struct{})}
	if cs.open == nil {
		cs.open = make(map[commitKey]*commit)
	}
	cs.open[key] = cm
	cm.timer = time.AfterFunc(max(c.linger, 0), func() {
		cs.mu.Lock()
		defer cs.mu.Unlock()
		cs.send(c, key, cm)
	})
	return cm
}

// run runs f in the background, and close waits for it. After close it does nothing and returns false.
func (cs *commits) run(f func()) bool {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cs.closed {
		return false
	}
	cs.writing.Go(f)
	return true
}

// send closes cm to further calls and writes it in the background, once. Called with mu held.
func (cs *commits) send(c *Client, key commitKey, cm *commit) {
	if cs.open[key] != cm {
		return // sent already: it was full before its timer fired
	}
	delete(cs.open, key)
	cm.timer.Stop()
	cs.writing.Go(func() {
		cm.taskID = uuid.NewString()
		cm.err = c.write(context.Background(), cm.payload, key.queue, cm.taskID, headersOf(cm.calls))
		close(cm.done)
	})
}

// close sends what is open and waits for every write, and for Redis's clock if it is being asked.
func (cs *commits) close(c *Client) {
	cs.mu.Lock()
	cs.closed = true
	for key, cm := range cs.open {
		cs.send(c, key, cm)
	}
	cs.mu.Unlock()
	cs.writing.Wait()
}
