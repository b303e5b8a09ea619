package webhook_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"cloudidq/internal/webhook"
)

// The traceparent header of the request contains the span of the attempt. The span contains
// neither path, query nor body.
func TestTrace_RequestHasTraceparent(t *testing.T) {
	var header http.Header
	status := http.StatusOK
	server := receiver(t, func(w http.ResponseWriter, r *http.Request) {
		header = r.Header
		w.WriteHeader(status)
	})
	spans := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	defer func() { _ = provider.Shutdown(context.Background()) }()
	s := sender(t, webhook.Endpoint{
		Name: "orders", URL: server.URL + "/planted?token=planted", AllowCIDRs: loopback, Tracers: provider,
	})
	ctx, parent := provider.Tracer("test").Start(t.Context(), "process webhook:deliver")
	s.Send(ctx, "msg_1", []byte(`{"planted":1}`))
	span := spans.Ended()[0]
	want := fmt.Sprintf("00-%s-%s-01", parent.SpanContext().TraceID(), span.SpanContext().SpanID())
	if got := header.Get("Traceparent"); got != want {
		t.Errorf("traceparent %q, want %q", got, want)
	}
	if span.Name() != "POST" || span.SpanKind() != trace.SpanKindClient || span.Parent().SpanID() != parent.SpanContext().SpanID() {
		t.Errorf("span %q, %v below %v", span.Name(), span.SpanKind(), span.Parent())
	}
	status = http.StatusInternalServerError
	s.Send(ctx, "msg_1", nil)
	for i, want := range []string{
		"127.0.0.1 orders ok 200", "127.0.0.1 orders refused 500 refused",
	} {
		span := spans.Ended()[i]
		var values []string
		for _, a := range span.Attributes() {
			if key := string(a.Key); key != "http.request.method" && key != "server.port" {
				values = append(values, a.Value.String())
			}
		}
		if got := strings.Join(values, " "); got != want {
			t.Errorf("attributes %q, want %q", got, want)
		}
		if text := fmt.Sprint(span.Name(), span.Attributes(), span.Status(), span.Events()); strings.Contains(text, "planted") {
			t.Errorf("a span contains path, query or body: %s", text)
		}
	}
	// Without a trace, no header is sent.
	plain := sender(t, webhook.Endpoint{URL: server.URL, AllowCIDRs: loopback})
	plain.Send(t.Context(), "msg_1", nil)
	if got := header.Values("Traceparent"); len(got) != 0 {
		t.Errorf("traceparent = %q without a trace, want none", got)
	}
}
