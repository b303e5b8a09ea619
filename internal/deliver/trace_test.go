package deliver

import (
	"context"
	"fmt"
	"testing"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"cloudidq/internal/attempt"
	"cloudidq/internal/webhook"
	"cloudidq/store"
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

// The span of a delivery has as its parent the attempt that has saved its results. If several
// attempts have, it is linked to all of them.
func TestTrace_DeliverySpanLinksItsAttempts(t *testing.T) {
	provider, spans := recording(t)
	b := newDeliverEnv(t, webhook.Attempt{Status: 500, Class: webhook.Refused, Duration: time.Millisecond})
	b.d.tracer = attempt.NewTracer(provider)
	deliver := func(traces ...string) sdktrace.ReadOnlySpan {
		t.Helper()
		for _, parent := range traces {
			rec := store.Record{AppID: testApp, CloudID: fmt.Sprint("73_trace", finishedSaved.Add(1)), Status: store.Resolved, Data: []byte(`{}`),
				Deliver: store.Outlet{Endpoint: "orders", Trace: parent}}
			if err := b.results.Save(t.Context(), "t", []store.Record{rec}); err != nil {
				t.Fatal(err)
			}
		}
		id, _, err := b.rows.Cut(t.Context(), testApp, "orders", 10)
		if err != nil {
			t.Fatal(err)
		}
		_ = b.attempt(id)
		all := spans.Ended()
		return all[len(all)-1]
	}
	one, two := tasks.Traceparent(start(t, provider)), tasks.Traceparent(start(t, provider))
	if span := deliver(one, one); tasks.ParseTraceparent(one).SpanID() != span.Parent().SpanID() || len(span.Links()) != 0 ||
		says(span, "cloudidq.webhook.results") != "2" || says(span, "error.type") != attempt.Again {
		t.Errorf("span %v below %v with links %v", span.Attributes(), span.Parent(), span.Links())
	}
	if span := deliver(one, two); span.Parent().IsValid() || len(span.Links()) != 2 {
		t.Errorf("span below %v with links %v, want 2 links and no parent", span.Parent(), span.Links())
	}
	if span := deliver(""); span.Parent().IsValid() || len(span.Links()) != 0 || !span.SpanContext().IsValid() {
		t.Errorf("span below %v with links %v, want neither", span.Parent(), span.Links())
	}
}

// start returns a context with a span.
func start(t *testing.T, provider trace.TracerProvider) context.Context {
	t.Helper()
	ctx, _ := provider.Tracer("test").Start(t.Context(), "process")
	return ctx
}
