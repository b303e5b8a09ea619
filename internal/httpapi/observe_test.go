package httpapi_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"cloudidq/internal/httpapi"
	"cloudidq/store"
	"cloudidq/tasks"
)

// observedAPI is an API without a network that records its metrics, spans and log. Its store
// panics.
type observedAPI struct {
	*httpapi.Server
	registry     *prometheus.Registry
	spans        *tracetest.SpanRecorder
	log          *lockedBuffer
	spanContexts []trace.SpanContext // span contexts that the producer was called with
}

// Resolve implements the producer. It records the span context.
func (o *observedAPI) Resolve(ctx context.Context, req tasks.Request) (tasks.Receipt, error) {
	o.spanContexts = append(o.spanContexts, trace.SpanContextFromContext(ctx))
	return tasks.Receipt{AcceptedAt: time.Now(), Enqueued: len(req.Items)}, nil
}

// WriteChunk implements the producer.
func (o *observedAPI) WriteChunk(context.Context, tasks.Chunk) error { return nil }

// Now implements the producer.
func (o *observedAPI) Now(context.Context) (time.Time, error) { return time.Now(), nil }

// High implements [httpapi.Load].
func (o *observedAPI) High(context.Context, string) bool { return false }

// Room implements [httpapi.Load].
func (o *observedAPI) Room(context.Context, string) error { return nil }

// panicking is a store whose look-ups panic.
type panicking struct{ store.Results }

func (panicking) Lookup(context.Context, string, []string) ([]store.Record, error) {
	panic("planted-panic")
}

func observe(t *testing.T, keys ...httpapi.Key) *observedAPI {
	t.Helper()
	o := &observedAPI{registry: prometheus.NewPedanticRegistry(), spans: tracetest.NewSpanRecorder(), log: &lockedBuffer{}}
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(o.spans))
	t.Cleanup(func() { _ = provider.Shutdown(context.Background()) })
	var err error
	o.Server, err = httpapi.New(httpapi.Config{Listen: "127.0.0.1:0", Keys: keys}, httpapi.Parts{
		Producer: o, Results: panicking{}, Load: o, Serves: func(string) bool { return true },
		Log:     slog.New(slog.NewTextHandler(o.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Metrics: httpapi.NewMetrics(o.registry), Tracers: provider,
	})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func (o *observedAPI) call(t *testing.T, method, path, body string, header ...string) int {
	t.Helper()
	w := httptest.NewRecorder()
	r := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
	r.Host = "localhost"
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	o.ServeHTTP(w, r)
	return w.Code
}

const plantedRequest = `{"appid":"wxA","openid":"o-planted","cloud_ids":["73_planted","73_planted2"]}`

func TestObserve_RecordsRoutes(t *testing.T) {
	o := observe(t, allKeys()...)
	bearer := []string{"Authorization", "Bearer " + admin}
	o.call(t, "POST", "/v1/resolutions", plantedRequest, bearer...)
	o.call(t, "GET", "/v1/resolutions/wxA/73_planted", "", bearer...)
	o.call(t, "GET", "/v1/resolutions/wxA/73_planted", "")
	o.call(t, "DELETE", "/planted/73_planted?access_token=planted", "", bearer...)
	o.call(t, "PLANTED", "/v1/resolutions", "", bearer...)
	want := `
# HELP cloudidq_http_requests_total Requests to the API, by route (other: unknown routes), method and status.
# TYPE cloudidq_http_requests_total counter
cloudidq_http_requests_total{method="DELETE",route="other",status="404"} 1
cloudidq_http_requests_total{method="GET",route="/v1/resolutions/{appid}/{cloud_id}",status="401"} 1
cloudidq_http_requests_total{method="GET",route="/v1/resolutions/{appid}/{cloud_id}",status="500"} 1
cloudidq_http_requests_total{method="POST",route="/v1/resolutions",status="202"} 1
cloudidq_http_requests_total{method="_OTHER",route="other",status="405"} 1
# HELP cloudidq_cloudids_accepted_total CloudIDs that the API has enqueued.
# TYPE cloudidq_cloudids_accepted_total counter
cloudidq_cloudids_accepted_total{queue="backfill"} 0
cloudidq_cloudids_accepted_total{queue="events"} 2
# HELP cloudidq_http_requests_in_flight Requests to the API that have not been answered yet.
# TYPE cloudidq_http_requests_in_flight gauge
cloudidq_http_requests_in_flight 0
`
	if err := testutil.GatherAndCompare(o.registry, strings.NewReader(want), "cloudidq_http_requests_total",
		"cloudidq_cloudids_accepted_total", "cloudidq_http_requests_in_flight"); err != nil {
		t.Error(err)
	}
	var names []string
	for _, span := range o.spans.Ended() {
		names = append(names, span.Name()+" "+span.Status().Code.String())
		if text := fmt.Sprint(span.Name(), span.Attributes(), span.Status(), span.Events()); strings.Contains(text, "planted") {
			t.Errorf("a span contains submitted data: %s", text)
		}
	}
	wantNames := []string{
		"POST /v1/resolutions Unset", "GET /v1/resolutions/{appid}/{cloud_id} Error", "GET /v1/resolutions/{appid}/{cloud_id} Unset",
		"DELETE other Unset", "_OTHER other Unset",
	}
	if !slices.Equal(names, wantNames) {
		t.Errorf("spans %q, want %q", names, wantNames)
	}
	log := o.log.String()
	if strings.Contains(log, "planted") || strings.Count(log, "msg=request") != 5 {
		t.Errorf("log:\n%s\nwant a line for each of 5 requests, and no submitted data", log)
	}
	for _, part := range []string{"route=/v1/resolutions status=202 ", "key=admin", "status=401", "route=other status=404", `handler panicked" route=/v1/resolutions/{appid}/{cloud_id}`} {
		if !strings.Contains(log, part) {
			t.Errorf("log lacks %q:\n%s", part, log)
		}
	}
}

// A request that carries a trace context continues the client's trace.
func TestObserve_ContinuesTrace(t *testing.T) {
	o := observe(t)
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	if status := o.call(t, "POST", "/v1/resolutions", plantedRequest, "Traceparent", parent); status != http.StatusAccepted {
		t.Fatalf("POST = %d", status)
	}
	span := o.spans.Ended()[0]
	if got := span.Parent(); got.TraceID().String() != parent[3:35] || got.SpanID().String() != parent[36:52] || !got.IsRemote() {
		t.Errorf("parent = %v, want the caller's", got)
	}
	if span.SpanKind() != trace.SpanKindServer {
		t.Errorf("kind = %v", span.SpanKind())
	}
	if !o.spanContexts[0].Equal(span.SpanContext()) {
		t.Errorf("the producer was called within %v, want the request's span %v", o.spanContexts[0],
			span.SpanContext())
	}
	// Without a trace context, or with an invalid one, a new trace starts.
	o.call(t, "POST", "/v1/resolutions", plantedRequest, "Traceparent", "00-planted")
	if got := o.spans.Ended()[1]; got.Parent().IsValid() || !got.SpanContext().IsValid() {
		t.Errorf("parent = %v, want none", got.Parent())
	}
}

// Handlers behind the observer can flush and set the deadlines of the connection.
func TestObserve_KeepsConnectionControl(t *testing.T) {
	b := newFixture(t)
	if got := b.call("POST", "/v1/resolutions", plantedRequest); got.status != http.StatusAccepted {
		t.Errorf("POST over a connection with deadlines = %d %s", got.status, got.body)
	}
}
