package telemetry_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.opentelemetry.io/otel/trace"

	"cloudidq/internal/telemetry"
)

func TestNewLogger_LevelAndFormat(t *testing.T) {
	tests := []struct {
		level, format string
		want          []string
	}{
		{"debug", "json", []string{`"level":"DEBUG","msg":"a"`, `"level":"INFO","msg":"b","n":1`}},
		{"warn", "json", nil},
		{"info", "text", []string{"level=INFO msg=b n=1"}},
		{"loud", "text", []string{"level=INFO msg=b n=1"}},
	}
	for _, tt := range tests {
		var out strings.Builder
		log := telemetry.NewLogger(&out, tt.level, tt.format)
		log.Debug("a")
		log.Info("b", "n", 1)
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		if out.Len() == 0 {
			lines = nil
		}
		if len(lines) != len(tt.want) {
			t.Errorf("%s, %s: %q, want %d lines", tt.level, tt.format, out.String(), len(tt.want))
			continue
		}
		for i, line := range lines {
			if !strings.Contains(line, tt.want[i]) {
				t.Errorf("%s, %s: line %q, want %q", tt.level, tt.format, line, tt.want[i])
			}
		}
	}
}

// Credentials in a URL do not reach the log, although libraries quote the URL in their errors.
func TestNewLogger_ShowsNoCredentialOfAnAddress(t *testing.T) {
	const address = "https://u:planted@otel.example.com/v1/traces?key=planted"
	for _, format := range []string{"json", "text"} {
		var out strings.Builder
		log := telemetry.NewLogger(&out, "info", format).With("at", address)
		log.Error("exporting to "+address, "error", fmt.Errorf("Post %q: refused", address), "input", address)
		if strings.Contains(out.String(), "planted") || strings.Count(out.String(), "[redacted]@otel.example.com") != 4 {
			t.Errorf("log = %s", out.String())
		}
	}
}

// Credentials in OTEL_… variables do not reach the error or the log, although the exporters
// quote the values.
func TestNew_FaultsShowNoCredential(t *testing.T) {
	const address = "http://u:planted@otel example/?key=planted"
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
	var out strings.Builder
	tel, err := telemetry.New(t.Context(), telemetry.Config{Out: &out, Level: "debug", Format: "text", LookupEnv: os.LookupEnv, Once: true})
	if err == nil {
		tel.Shutdown()
	}
	if text := fmt.Sprint(err, out.String()); strings.Contains(text, "planted") {
		t.Errorf("a credential is shown: %s", text)
	}
}

func TestNewLogger_AddsSpanIDs(t *testing.T) {
	var out strings.Builder
	log := telemetry.NewLogger(&out, "info", "text")
	span := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1, 2}, SpanID: trace.SpanID{3}})
	log.InfoContext(trace.ContextWithSpanContext(t.Context(), span), "resolve")
	log.With("a", 1).InfoContext(t.Context(), "without")
	if want := "msg=resolve trace_id=01020000000000000000000000000000 span_id=0300000000000000\n"; !strings.Contains(out.String(), want) {
		t.Errorf("log = %q, want it to contain %q", out.String(), want)
	}
	if strings.Count(out.String(), "trace_id") != 1 {
		t.Errorf("log = %q, want no ids without a span", out.String())
	}
}

func TestNew_RegistersTheBuild(t *testing.T) {
	tel, err := telemetry.New(t.Context(), telemetry.Config{
		Out: &strings.Builder{}, Version: "v1.2.3", Commit: "abc", LookupEnv: func(string) (string, bool) { return "", false },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer tel.Shutdown()
	families, err := tel.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, family := range families {
		found[family.GetName()] = true
	}
	for _, name := range []string{"cloudidq_build_info", "go_goroutines", "process_start_time_seconds"} {
		if !found[name] {
			t.Errorf("%s is not registered", name)
		}
	}
	if problems, err := testutil.GatherAndLint(tel.Registry, "cloudidq_build_info"); err != nil || len(problems) > 0 {
		t.Errorf("lint: %v, %v", problems, err)
	}
}

func TestNew_SendsOnlyWhatIsEnabled(t *testing.T) {
	tests := []struct {
		name   string
		env    map[string]string
		traces bool
		fault  string
	}{
		{"Nothing", nil, false, ""},
		{"Endpoint", map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}, true, ""},
		{"EndpointOfTraces", map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:1/x"}, true, ""},
		{"EndpointOfMetrics", map[string]string{"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://127.0.0.1:1/x"}, false, ""},
		{"Exporter", map[string]string{"OTEL_TRACES_EXPORTER": "otlp"}, true, ""},
		{"None", map[string]string{"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}, false, ""},
		{"Disabled", map[string]string{"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}, false, ""},
		{"GRPC", map[string]string{"OTEL_TRACES_EXPORTER": "otlp", "OTEL_METRICS_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, true, ""},
		{"HTTP", map[string]string{"OTEL_TRACES_EXPORTER": "otlp", "OTEL_METRICS_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, true, ""},
		{"Unknown", map[string]string{"OTEL_TRACES_EXPORTER": "zipkin"}, false,
			"setting up OpenTelemetry: OTEL_TRACES_EXPORTER: only otlp and none"},
		{"UnknownOfMetrics", map[string]string{"OTEL_METRICS_EXPORTER": "prometheus"}, false, "OTEL_METRICS_EXPORTER: only otlp and none"},
		{
			"UnknownProtocol", map[string]string{"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"},
			false, "OTEL_EXPORTER_OTLP_PROTOCOL: only http/protobuf and grpc",
		},
		{
			"UnknownProtocolOfMetrics", map[string]string{"OTEL_METRICS_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL": "planted"},
			false, "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL: only http/protobuf and grpc",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "100") // in milliseconds; there is no collector to send to at the end
			for name, value := range tt.env {
				t.Setenv(name, value) // the exporters read the process environment
			}
			tel, err := telemetry.New(t.Context(), telemetry.Config{
				Out: &logBuffer{}, LookupEnv: func(name string) (string, bool) {
					value,
						ok := tt.env[name]
					return value, ok
				},
			})
			if tt.fault != "" {
				if err == nil || !strings.Contains(err.Error(), tt.fault) {
					t.Errorf("New() = %v, want %q", err, tt.fault)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer tel.Shutdown()
			if got := tel.Tracers != nil; got != tt.traces {
				t.Errorf("traces: %v, want %v", got, tt.traces)
			}
		})
	}
}
