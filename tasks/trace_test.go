package tasks

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/hibiken/asynq"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
)

// tracing returns a tracer provider and the recorder of its spans.
func tracing(t *testing.T) (trace.TracerProvider, *tracetest.SpanRecorder) {
	t.Helper()
	spans := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	t.Cleanup(func() { _ = provider.Shutdown(context.Background()) })
	return provider, spans
}

// tasksQueue stores the tasks that it accepts.
type tasksQueue struct {
	tasks []*asynq.Task
	err   error
}

func (q *tasksQueue) EnqueueContext(_ context.Context, task *asynq.Task, _ ...asynq.Option) (*asynq.TaskInfo, error) {
	q.tasks = append(q.tasks, task)
	return &asynq.TaskInfo{}, q.err
}

func planted(n int) (items []Item) {
	for i := range n {
		items = append(items, Item{CloudID: fmt.Sprint("73_planted", i), OpenID: "o-planted", Reference: "planted"})
	}
	return items
}

// A task of one call has the span of that call as parent.
func TestTrace_OneCallIsTheTasksParent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		provider, spans := tracing(t)
		q := &tasksQueue{}
		c := newClient(q, Options{Tracers: provider})
		defer c.Close()
		state, err := trace.ParseTraceState("planted=13812345678")
		if err != nil {
			t.Fatal(err)
		}
		remote := ParseTraceparent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").WithTraceState(state)
		ctx, request := provider.Tracer("test").Start(trace.ContextWithSpanContext(t.Context(), remote), "POST")
		if _, err := c.Resolve(ctx, Request{AppID: "wx1", Items: planted(2)}); err != nil {
			t.Fatal(err)
		}
		send := spans.Ended()[0]
		if send.Name() != "send cloudid:resolve" || send.SpanKind() != trace.SpanKindProducer || send.Parent().SpanID() != request.SpanContext().SpanID() {
			t.Errorf("span %q, %v below %v", send.Name(), send.SpanKind(), send.Parent())
		}
		want := `{messaging.system asynq} {messaging.operation.name send} {messaging.operation.type send} {messaging.destination.name events} ` +
			`{cloudidq.task.type cloudid:resolve} {cloudidq.appid wx1} {cloudidq.cloudids 2} {messaging.message.id `
		if got := attributes(send); !strings.HasPrefix(got, want) || strings.Contains(got, "planted") {
			t.Errorf("attributes %s, want %s…", got, want)
		}
		if headers := q.tasks[0].Headers(); len(headers) != 1 {
			t.Errorf("headers %v, want traceparent alone", headers)
		}
		ctx, links := Origin(t.Context(), q.tasks[0])
		if got := trace.SpanContextFromContext(ctx); got.SpanID() != send.SpanContext().SpanID() || !got.IsRemote() || len(links) != 0 {
			t.Errorf("the task comes from %v and %v, want the call's span", got, links)
		}
	})
}

func attributes(span sdktrace.ReadOnlySpan) string {
	var all []string
	for _, a := range span.Attributes() {
		all = append(all, fmt.Sprintf("{%s %s}", a.Key, a.Value.String()))
	}
	return strings.Join(all, " ")
}

// A task that several calls share has links to the spans of all of them.
func TestTrace_CallsThatShareATaskAreLinked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		provider, spans := tracing(t)
		q := &tasksQueue{}
		c := newClient(q, Options{Tracers: provider})
		defer c.Close()
		for i := range MaxItems {
			go func() { _, _ = c.Resolve(t.Context(), Request{AppID: "wx1", Items: planted(i + 1)[i:]}) }()
		}
		synctest.Wait()
		if len(q.tasks) != 1 {
			t.Fatalf("%d tasks, want one", len(q.tasks))
		}
		ctx, links := Origin(t.Context(), q.tasks[0])
		if trace.SpanContextFromContext(ctx).IsValid() {
			t.Error("one of many calls is the parent")
		}
		linked := map[trace.SpanID]bool{}
		for _, link := range links {
			linked[link.SpanContext.SpanID()] = true
		}
		for _, span := range spans.Ended() {
			if !linked[span.SpanContext().SpanID()] {
				t.Errorf("%v is not linked", span.SpanContext())
			}
		}
		if len(linked) != MaxItems || len(spans.Ended()) != MaxItems {
			t.Errorf("%d links of %d calls, want %d", len(linked), len(spans.Ended()), MaxItems)
		}
	})
}

// Without Tracers a client passes on the caller's span. If the caller has no span, the task has
// no trace headers.
func TestTrace_WithoutTracers(t *testing.T) {
	q := &tasksQueue{}
	c := newClient(q, Options{CommitLinger: -1})
	defer c.Close()
	if _, err := c.Resolve(t.Context(), Request{AppID: "wx1", Items: planted(1)}); err != nil {
		t.Fatal(err)
	}
	provider, _ := tracing(t)
	ctx, span := provider.Tracer("test").Start(t.Context(), "the caller's")
	if _, err := c.ResolveAll(ctx, Request{AppID: "wx1", Items: planted(MaxItems + 1)}); err != nil {
		t.Fatal(err)
	}
	if n := len(q.tasks[0].Headers()); n != 0 {
		t.Errorf("%d headers without a trace", n)
	}
	for _, task := range q.tasks[1:] {
		ctx, _ := Origin(t.Context(), task)
		if got := trace.SpanContextFromContext(ctx); got.SpanID() != span.SpanContext().SpanID() {
			t.Errorf("the task comes from %v, want the caller's span", got)
		}
	}
}

// ResolveAll makes one span, however many tasks it writes.
func TestTrace_ResolveAllIsOneSpan(t *testing.T) {
	provider, spans := tracing(t)
	q := &tasksQueue{}
	c := newClient(q, Options{Tracers: provider})
	defer c.Close()
	if _, err := c.ResolveAll(t.Context(), Request{AppID: "wx1", Queue: QueueBackfill, Items: planted(250)}); err != nil {
		t.Fatal(err)
	}
	q.err = fmt.Errorf("dial 10.0.0.7: planted")
	if _, err := c.ResolveAll(t.Context(), Request{AppID: "wx1", Items: planted(1)}); err == nil {
		t.Fatal("ResolveAll = nil without a queue")
	}
	sent := spans.Ended()
	if len(sent) != 2 || !strings.Contains(attributes(sent[0]), "{messaging.batch.message_count 3}") {
		t.Fatalf("%d spans, the first %s; want one each, of 3 tasks", len(sent), attributes(sent[0]))
	}
	if got := attributes(sent[1]) + sent[1].Status().Description; !strings.Contains(got, "{error.type queue}") || strings.Contains(got, "planted") {
		t.Errorf("the span that failed: %s", got)
	}
}

// The span of a backfill is only linked to its tasks. As their parent it would have a hundred
// thousand children.
func TestTrace_AChunkIsLinked(t *testing.T) {
	provider, _ := tracing(t)
	q := &tasksQueue{}
	c := newClient(q, Options{Tracers: provider})
	defer c.Close()
	ctx, upload := provider.Tracer("test").Start(t.Context(), "POST /v1/backfills")
	if err := c.WriteChunk(ctx, Chunk{Backfill: "bf_x", AppID: "wx1", Items: planted(1)}); err != nil {
		t.Fatal(err)
	}
	origin, links := Origin(t.Context(), q.tasks[0])
	if trace.SpanContextFromContext(origin).IsValid() || len(links) != 1 || links[0].SpanContext.SpanID() != upload.SpanContext().SpanID() {
		t.Errorf("the task comes from %v and %v, want a link to the upload", trace.SpanContextFromContext(origin), links)
	}
}

// Origin ignores malformed trace headers.
func TestOrigin_WhatIsNotWellFormedIsLeftOut(t *testing.T) {
	const good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	for name, tc := range map[string]struct {
		headers map[string]string
		parent  bool
		links   int
	}{
		"None":          {nil, false, 0},
		"Remote":        {map[string]string{"traceparent": good, "tracestate": "a=b"}, true, 0},
		"Broken":        {map[string]string{"traceparent": "00-planted"}, false, 0},
		"BrokenLinks":   {map[string]string{headerLinks: good + ",," + good[:20] + ",x," + good}, false, 2},
		"TooManyLinks":  {map[string]string{headerLinks: strings.Repeat(good+",", 10*MaxItems)}, false, MaxItems},
		"LinksOverride": {map[string]string{headerLinks: good, "traceparent": good}, false, 1},
	} {
		ctx, links := Origin(t.Context(), asynq.NewTaskWithHeaders(TypeResolve, nil, tc.headers))
		if got := trace.SpanContextFromContext(ctx).IsValid(); got != tc.parent || len(links) != tc.links {
			t.Errorf("%s: parent %v, %d links; want %v, %d", name, got, len(links), tc.parent, tc.links)
		}
	}
	if span := ParseTraceparent(good); Traceparent(trace.ContextWithSpanContext(t.Context(), span)) != good {
		t.Errorf("%s is read as %v", good, span)
	}
	if Traceparent(t.Context()) != "" {
		t.Error("a traceparent without a span")
	}
}
