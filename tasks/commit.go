package tasks

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/trace"
)

// ErrClosed is returned by calls of [Client.Resolve] after [Client.Close].
var ErrClosed = errors.New("the client is closed")

// commitKey holds the values that calls must have in common to share a task.
type commitKey struct{ appID, queue, webhook, backfill string }

// commit is a task that is being filled by concurrent calls.
type commit struct {
	payload ResolvePayload
	ids     map[string]struct{} // of payload.Items
	calls   []trace.SpanContext // spans of the traced calls
	timer   *time.Timer
	done    chan struct{} // closed after Redis has answered
	taskID  string        // taskID and err are set before done is closed
	err     error
}

// commits are the open commits of a Client. The zero value is ready.
type commits struct {
	mu      sync.Mutex
	open    map[commitKey]*commit // guarded by mu
	closed  bool                  // guarded by mu
	writing sync.WaitGroup        // Add only while mu is held and closed is false
}

// join adds p to the open commit of its key, or opens a commit, and waits until Redis has it. It
// returns the id of the task. The items of one call never spread over two tasks, so each call
// succeeds or fails as a whole.
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

// spansOf returns the span of ctx, or nil if the call is not traced.
func spansOf(ctx context.Context) []trace.SpanContext {
	if span := trace.SpanContextFromContext(ctx); span.IsValid() {
		return []trace.SpanContext{span}
	}
	return nil
}

// enter adds p to a commit with space for it, and sends every commit that is full.
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

// takes reports whether items fit into the commit. A task has at most MaxItems items and no
// cloudID twice. If two calls have the same cloudID, perhaps with different openids, two tasks
// resolve it one after the other.
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

// add appends items to the commit.
func (cm *commit) add(items []Item) {
	cm.payload.Items = append(cm.payload.Items, items...)
	for i := range items {
		cm.ids[items[i].CloudID] = struct{}{}
	}
}

// begin opens an empty commit for calls with the key of p. Called with mu held.
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

// run runs f in the background; close waits for f. After close, run does nothing and returns
// false.
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
		return // sent already: the commit was full before its timer fired
	}
	delete(cs.open, key)
	cm.timer.Stop()
	cs.writing.Go(func() {
		cm.taskID = uuid.NewString()
		cm.err = c.write(context.Background(), cm.payload, key.queue, cm.taskID, headersOf(cm.calls))
		close(cm.done)
	})
}

// close sends the open commits. It waits for every write, and for a request for Redis's clock if
// one is in flight.
func (cs *commits) close(c *Client) {
	cs.mu.Lock()
	cs.closed = true
	for key, cm := range cs.open {
		cs.send(c, key, cm)
	}
	cs.mu.Unlock()
	cs.writing.Wait()
}
