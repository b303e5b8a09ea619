package telemetry_test

import (
	"context"
	"net"
	"os"
	"sync/atomic"
	"testing"

	metricspb "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	tracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"

	"cloudidq/internal/telemetry"
)

// spans counts the export requests of traces.
type spans struct {
	tracepb.UnimplementedTraceServiceServer
	got atomic.Int64
}

// series counts the export requests of metrics.
type series struct {
	metricspb.UnimplementedMetricsServiceServer
	got atomic.Int64
}

func (s *spans) Export(context.Context, *tracepb.ExportTraceServiceRequest) (*tracepb.ExportTraceServiceResponse, error) {
	s.got.Add(1)
	return &tracepb.ExportTraceServiceResponse{}, nil
}

func (s *series) Export(context.Context, *metricspb.ExportMetricsServiceRequest) (*metricspb.ExportMetricsServiceResponse, error) {
	s.got.Add(1)
	return &metricspb.ExportMetricsServiceResponse{}, nil
}

// If OTEL_EXPORTER_OTLP_PROTOCOL is grpc, traces and metrics are sent over gRPC.
func TestNew_SendsOverGRPC(t *testing.T) {
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	traces, metrics, collector := &spans{}, &series{}, grpc.NewServer()
	tracepb.RegisterTraceServiceServer(collector, traces)
	metricspb.RegisterMetricsServiceServer(collector, metrics)
	served := make(chan error, 1)
	go func() { served <- collector.Serve(listener) }()
	t.Cleanup(func() {
		collector.Stop()
		if err := <-served; err != nil {
			t.Errorf("Serve() = %v", err)
		}
	})
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"+listener.Addr().String())
	t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
	tel, err := telemetry.New(t.Context(), telemetry.Config{Out: &logBuffer{}, LookupEnv: os.LookupEnv})
	if err != nil {
		t.Fatal(err)
	}
	_, span := tel.Tracers.Tracer("test").Start(t.Context(), "test")
	span.End()
	tel.Shutdown()
	if traces.got.Load() == 0 || metrics.got.Load() == 0 {
		t.Errorf("requests with traces: %d, with metrics: %d; want both", traces.got.Load(),
			metrics.got.Load())
	}
}
