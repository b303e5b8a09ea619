// Package telemetry creates the logger and the metrics registry of a process. If OTEL_…
// variables request it, the package also sends traces and the metrics by OTLP. cmd creates the
// telemetry once per process, passes it on, and shuts it down last.
//
//	tel, err := telemetry.New(ctx, telemetry.Config{…})
//	…
//	defer tel.Shutdown() // after everything that logs, counts or traces
//
// The package knows nothing about queues or WeChat. Each metric is defined next to the code that
// it measures.
package telemetry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"cloudidq/internal/secret"
)

// Config holds the settings of [New].
type Config struct {
	// Out is where the log is written to.
	Out           io.Writer
	Level, Format string // of the log, see [NewLogger]
	Version       string // version of the program
	Commit        string
	// Once is for a command that runs once: its traces are sent if requested, but its metrics
	// are not.
	Once bool
	// LookupEnv looks up the variables that decide whether OTLP is used. The exporters read
	// their own variables from the environment of the process.
	LookupEnv func(string) (string, bool)
}

// Telemetry holds the logger, the metrics registry and the tracers of a process. Call Shutdown
// at the end.
type Telemetry struct {
	Log      *slog.Logger
	Registry *prometheus.Registry
	// Tracers provides the tracers of all packages; nil = no traces, at no cost.
	Tracers trace.TracerProvider

	quiet *quietHandler
	stops []func(context.Context) error // of the exporters, in the order of their start
}

// New creates the telemetry of a process. It does not connect to anything yet. If the OTLP
// collector is down, data is lost, which is logged, but the process continues. An error
// refers to one of the OTEL_… variables.
func New(ctx context.Context, cfg Config) (*Telemetry, error) {
	quiet := newQuietHandler(newHandler(cfg.Out, cfg.Level, cfg.Format))
	t := &Telemetry{
		Log: slog.New(tracedHandler{quiet}), Registry: newRegistry(cfg.Version, cfg.Commit), quiet: quiet,
	}
	if err := t.startOTLP(ctx, cfg); err != nil {
		return nil, errors.Join(fmt.Errorf("setting up OpenTelemetry: %s",
			secret.URLsIn(err.Error())), t.stop(ctx))
	}
	return t, nil
}

// flushFor bounds the time that the exporters get to send their remaining data.
const flushFor = 3 * time.Second

// Shutdown sends the remaining data of the exporters, for at most 3 seconds, and writes the
// pending summary lines of the log. All goroutines of the telemetry have finished when it
// returns.
func (t *Telemetry) Shutdown() {
	ctx, cancel := context.WithTimeout(context.Background(), flushFor)
	defer cancel()
	if err := t.stop(ctx); err != nil {
		t.Log.Warn("sending the last traces or metrics failed", "error", err)
	}
	t.quiet.close()
}

// stop stops the exporters.
func (t *Telemetry) stop(ctx context.Context) error {
	var faults []error
	for _, stop := range t.stops {
		faults = append(faults, stop(ctx))
	}
	return errors.Join(faults...)
}
