package worker

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hibiken/asynq"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"cloudidq/internal/attempt"
	"cloudidq/internal/batch"
	"cloudidq/internal/batch/batchtest"
	"cloudidq/internal/wechat"
	"cloudidq/tasks"
)

func recording(tb testing.TB) (*sdktrace.TracerProvider, *tracetest.SpanRecorder) {
	tb.Helper()
	spans := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	tb.Cleanup(func() { _ = provider.Shutdown(context.Background()) })
	return provider, spans
}

// says returns the value of a span's attribute, or "".
func says(span sdktrace.ReadOnlySpan, key string) string {
	for _, a := range span.Attributes() {
		if string(a.Key) == key {
			return a.Value.String()
		}
	}
	return ""
}

// The span of an attempt shows the result of its task. Waiting is not an error, and no
// submitted value is in the span.
func TestTrace_AttemptByResult(t *testing.T) {
	provider, spans := recording(t)
	var answer *wechat.Error
	b := newResolverFixture(t, &batchtest.WeChat{Answer: func(wechat.Request) *wechat.Error { return answer }})
	b.tracer = attempt.NewTracer(provider)
	for _, tt := range []struct {
		answer         *wechat.Error
		result, fault  string
		resolved, open string
	}{
		{&wechat.Error{Class: wechat.ClassRetry, Code: -1, Message: "planted"}, attempt.Again, "open cloudIDs: 1; wechat: errcode -1 (retry)", "0", "1"},
		{nil, attempt.Done, "", "1", "0"},
		{&wechat.Error{Class: wechat.ClassItem, Code: -601007, Message: "planted"}, attempt.Archived, "no cloudID brought data: 1 failed, 0 expired", "0", "0"},
		{&wechat.Error{Class: wechat.ClassQuota, Code: 45009, Message: "planted"}, attempt.Wait, "", "0", "1"},
	} {
		answer = tt.answer
		payload := tasks.ResolvePayload{AppID: testApp, Items: []tasks.Item{{CloudID: "73_planted" + tt.result, OpenID: "o-planted"}}}
		task, err := tasks.NewResolveTask(payload, tasks.QueueEvents)
		if err != nil {
			t.Fatal(err)
		}
		_ = b.ProcessTask(t.Context(), task)
		all := spans.Ended()
		span := all[len(all)-1]
		if span.Name() != "process cloudid:resolve" || span.SpanKind() != trace.SpanKindConsumer || says(span, "cloudidq.task.result") != tt.result ||
			says(span, "cloudidq.resolved") != tt.resolved || says(span, "cloudidq.open") != tt.open || !strings.HasPrefix(span.Status().Description, tt.fault) {
			t.Errorf("span %q %v, %v; want %+v", span.Name(), span.Attributes(), span.Status(), tt)
		}
		if text := fmt.Sprint(span.Attributes(), span.Status(), span.Events()); strings.Contains(text, "planted") {
			t.Errorf("a span holds what was submitted: %s", text)
		}
	}
}

// A request carries the spans of the attempts that it is made for, each span once.
func TestTrace_RequestLinksItsAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		provider, _ := recording(t)
		f := &batchtest.WeChat{}
		b := batch.New(f, []App{app(func(a *App) { a.GroupByApp, a.BatchLinger = true, time.Second })}, batch.Options{Traced: true})
		defer b.Close()
		var want []trace.SpanID
		var running sync.WaitGroup
		for i := range 3 {
			_, span := provider.Tracer("test").Start(t.Context(), "process")
			want = append(want, span.SpanContext().SpanID())
			running.Go(func() { collect(b.Add(span.SpanContext(), testApp, cloudIDsOf("oA", 3*i, 3*i+3)), 3) })
		}
		running.Go(func() { collect(b.Add(untraced, testApp, cloudIDsOf("oB", 100, 101)), 1) })
		running.Wait()
		if len(f.Requests) != 1 {
			t.Fatalf("%d requests, want one of all tasks", len(f.Requests))
		}
		var got []trace.SpanID
		for _, span := range f.Requests[0].Origins {
			got = append(got, span.SpanID())
		}
		byText := func(a, b trace.SpanID) int { return strings.Compare(a.String(), b.String()) }
		slices.SortFunc(got, byText)
		slices.SortFunc(want, byText)
		if !slices.Equal(got, want) {
			t.Errorf("origins %v, want %v", got, want)
		}
	})
}

// Without a tracer provider no span is created and nothing is allocated.
func TestTrace_OffCostsNothing(t *testing.T) {
	off := &resolver{}
	task, ctx := asynq.NewTask(tasks.TypeResolve, nil), t.Context()
	r := &resolution{}
	if n := testing.AllocsPerRun(100, func() {
		_, span := off.startSpan(ctx, task)
		r.describe(span)
		span.End(nil)
	}); n != 0 {
		t.Errorf("%v allocations for an attempt that is not traced", n)
	}
}

// BenchmarkBatcherObserved is BenchmarkBatcher with 20 users, once with metrics, and once with
// metrics and traces.
func BenchmarkBatcherObserved(b *testing.B) {
	for _, traced := range []bool{false, true} {
		b.Run(fmt.Sprintf("traced=%v", traced), func(b *testing.B) {
			provider, _ := recording(b)
			bt := batch.New(instant{}, []App{{AppID: testApp, BatchMax: 20, BatchLinger: time.Microsecond, MaxInFlight: 64}},
				batch.Options{Metrics: batch.NewMetrics(nil, wechat.NewAppLabels(testApp)), Traced: traced})
			defer bt.Close()
			from := untraced
			if traced {
				_, span := provider.Tracer("test").Start(b.Context(), "process")
				from = span.SpanContext()
			}
			cloudIDs := make([]batch.CloudID, 100)
			for i := range cloudIDs {
				cloudIDs[i] = batch.CloudID{OpenID: fmt.Sprintf("o%d", i%20), Item: wechat.Item{CloudID: fmt.Sprintf("73_%d", i)}}
			}
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					w := bt.Add(from, testApp, cloudIDs)
					for range cloudIDs {
						<-w.Answers
					}
				}
			})
		})
	}
}
