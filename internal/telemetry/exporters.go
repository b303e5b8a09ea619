package telemetry

import (
	"context"
	"fmt"
	"strings"

	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// variable returns the value of an environment variable without surrounding spaces. It returns
// "" if the variable is not set.
func variable(lookup func(string) (string, bool), name string) string {
	text, _ := lookup(name)
	return strings.TrimSpace(text)
}

// overGRPC reports whether a signal (TRACES or METRICS) is sent by gRPC. The default is HTTP, as
// the specification requires. If a variable selects anything else, the error names that variable.
func overGRPC(lookup func(string) (string, bool), signal string) (bool, error) {
	name := "OTEL_" + signal + "_EXPORTER"
	if exporter := variable(lookup, name); exporter != "" && exporter != "otlp" {
		return false, fmt.Errorf("%s: only otlp and none are supported", name)
	}
	name = "OTEL_EXPORTER_OTLP_" + signal + "_PROTOCOL"
	protocol := variable(lookup, name)
	if protocol == "" {
		name = "OTEL_EXPORTER_OTLP_PROTOCOL"
		protocol = variable(lookup, name)
	}
	switch protocol {
	case "grpc":
		return true, nil
	case "", "http/protobuf":
		return false, nil
	default:
		return false, fmt.Errorf("%s: only http/protobuf and grpc are supported", name)
	}
}

// spanExporter returns the exporter of spans. The exporter itself reads its endpoint and options
// from the environment of the process.
func spanExporter(ctx context.Context, lookup func(string) (string, bool)) (sdktrace.SpanExporter, error) {
	grpc, err := overGRPC(lookup, "TRACES")
	switch {
	case err != nil:
		return nil, err
	case grpc:
		return otlptracegrpc.New(ctx)
	default:
		return otlptracehttp.New(ctx)
	}
}

// metricExporter returns the exporter of metrics. The exporter itself reads its endpoint and
// options from the environment of the process.
func metricExporter(ctx context.Context, lookup func(string) (string, bool)) (sdkmetric.Exporter, error) {
	grpc, err := overGRPC(lookup, "METRICS")
	switch {
	case err != nil:
		return nil, err
	case grpc:
		return otlpmetricgrpc.New(ctx)
	default:
		return otlpmetrichttp.New(ctx)
	}
}
