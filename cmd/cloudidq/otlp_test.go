package main

import (
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	collectmetrics "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	collecttrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
)

// collector is an OTLP receiver like an operator's, over HTTP with protobuf.
type collector struct {
	*httptest.Server
	t *testing.T

	mu      sync.Mutex
	spans   map[string]*tracepb.Span // by span id
	names   map[string]int           // number of times each metric has arrived
	text    strings.Builder          // everything received, as text
	service map[string]bool          // names of services
}

func newCollector(t *testing.T) *collector {
	t.Helper()
	c := &collector{t: t, spans: map[string]*tracepb.Span{}, names: map[string]int{}, service: map[string]bool{}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/traces", func(_ http.ResponseWriter, r *http.Request) { c.receive(r, c.traces) })
	mux.HandleFunc("POST /v1/metrics", func(_ http.ResponseWriter, r *http.Request) { c.receive(r, c.metrics) })
	c.Server = httptest.NewServer(mux)
	t.Cleanup(c.Close)
	return c
}

// env returns the variables that make a process export everything to c without delay.
func (c *collector) env() []string {
	return []string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + c.URL, "OTEL_BSP_SCHEDULE_DELAY=50", "OTEL_METRIC_EXPORT_INTERVAL=500"}
}

func (c *collector) receive(r *http.Request, use func(body []byte)) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		c.t.Errorf("an export is incomplete: %v", err)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	use(body)
}

func (c *collector) traces(body []byte) {
	var export collecttrace.ExportTraceServiceRequest
	if err := proto.Unmarshal(body, &export); err != nil {
		c.t.Errorf("parsing an export of traces: %v", err)
		return
	}
	c.text.WriteString(prototext.Format(&export))
	for _, resource := range export.GetResourceSpans() {
		for _, a := range resource.GetResource().GetAttributes() {
			if a.GetKey() == "service.name" {
				c.service[a.GetValue().GetStringValue()] = true
			}
		}
		for _, scope := range resource.GetScopeSpans() {
			for _, span := range scope.GetSpans() {
				c.spans[hex.EncodeToString(span.GetSpanId())] = span
			}
		}
	}
}

func (c *collector) metrics(body []byte) {
	var export collectmetrics.ExportMetricsServiceRequest
	if err := proto.Unmarshal(body, &export); err != nil {
		c.t.Errorf("parsing an export of metrics: %v", err)
		return
	}
	c.text.WriteString(prototext.Format(&export))
	for _, resource := range export.GetResourceMetrics() {
		for _, scope := range resource.GetScopeMetrics() {
			for _, m := range scope.GetMetrics() {
				c.names[m.GetName()]++
			}
		}
	}
}

// all returns everything received, as text.
func (c *collector) all() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.text.String()
}

// services returns the names of the services that have sent traces.
func (c *collector) services() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Sorted(maps.Keys(c.service))
}

// has reports whether a metric has arrived.
func (c *collector) has(metric string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.names[metric] > 0
}

// span returns the span with an id, or nil if it has not arrived.
func (c *collector) span(id string) *tracepb.Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.spans[id]
}

// named returns the spans with a name.
func (c *collector) named(name string) (spans []*tracepb.Span) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, span := range c.spans {
		if span.GetName() == name {
			spans = append(spans, span)
		}
	}
	return spans
}

// attribute returns an attribute of a span as text, or "" if the span does not have it.
func attribute(span *tracepb.Span, key string) string {
	for _, a := range span.GetAttributes() {
		if a.GetKey() != key {
			continue
		}
		if text := a.GetValue().GetStringValue(); text != "" {
			return text
		}
		return fmt.Sprint(a.GetValue().GetIntValue())
	}
	return ""
}
