package telemetry

import (
	"context"
	"log/slog"
	"strings"

	"github.com/go-logr/logr"
	"github.com/google/uuid"
	promexport "go.opentelemetry.io/contrib/bridges/prometheus"
	"go.opentelemetry.io/otel"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
)

// enabled reports whether the environment enables a signal (TRACES or METRICS), by an exporter or
// an endpoint. By the specification, an SDK without either variable sends to localhost. Here,
// nothing is sent unless a variable requests it.
// https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/.
func enabled(lookup func(string) (string, bool), signal string) bool {
	value := func(name string) string { return variable(lookup, name) }
	if strings.EqualFold(value("OTEL_SDK_DISABLED"), "true") {
		return false
	}
	if exporter := value("OTEL_" + signal + "_EXPORTER"); exporter != "" {
		return exporter != "none"
	}
	return value("OTEL_EXPORTER_OTLP_ENDPOINT") != "" ||
		value("OTEL_EXPORTER_OTLP_"+signal+"_ENDPOINT") != ""
}

// startOTLP starts the exporters that the environment requests.
func (t *Telemetry) startOTLP(ctx context.Context, cfg Config) error {
	traces := enabled(cfg.LookupEnv, "TRACES")
	metrics := !cfg.Once && enabled(cfg.LookupEnv, "METRICS")
	if !traces && !metrics {
		return nil
	}
	// OpenTelemetry has one error handler and one logger for the whole process. By default they
	// write to stderr in a format of their own.
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		t.Log.Warn("OpenTelemetry", "error", err)
	}))
	otel.SetLogger(logr.FromSlogHandler(t.Log.With(slog.String("from", "otel")).Handler()))
	about, err := resource.New(ctx,
		resource.WithAttributes(
			semconv.ServiceName("cloudidq"), semconv.ServiceVersion(cfg.Version), semconv.ServiceInstanceID(uuid.NewString()),
		),
		resource.WithTelemetrySDK(),
		resource.WithFromEnv(), // OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES override the above
	)
	if err != nil {
		return err
	}
	if traces {
		if err := t.startTraces(ctx, cfg.LookupEnv, about); err != nil {
			return err
		}
	}
	if metrics {
		return t.startMetrics(ctx, cfg.LookupEnv, about)
	}
	return nil
}

// startTraces starts to send spans in the background. OTEL_… variables set the sampler, the
// limits and the batches.
func (t *Telemetry) startTraces(ctx context.Context, lookup func(string) (string, bool), about *resource.Resource) error {
	exporter, err := spanExporter(ctx, lookup)
	if err != nil {
		return err
	}
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(about))
	t.Tracers = provider
	t.stops = append(t.stops, provider.Shutdown)
	return nil
}

// startMetrics starts to send the registry's metrics. OTEL_METRIC_EXPORT_INTERVAL sets the
// interval; the default is one minute.
func (t *Telemetry) startMetrics(ctx context.Context, lookup func(string) (string, bool), about *resource.Resource) error {
	exporter, err := metricExporter(ctx, lookup)
	if err != nil {
		return err
	}
	reader := sdkmetric.NewPeriodicReader(exporter,
		sdkmetric.WithProducer(promexport.NewMetricProducer(promexport.WithGatherer(t.Registry))))
	provider := sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader), sdkmetric.WithResource(about))
	t.stops = append(t.stops, provider.Shutdown)
	return nil
}
