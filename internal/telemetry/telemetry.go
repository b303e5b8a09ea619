// Package telemetry makes what a process tells of itself: its logger, its registry of metrics, and, where the OTEL_…
// variables ask for it, traces and the same metrics by OTLP. cmd builds it once per process, hands the parts on, and
// shuts it down last.
//
//	tel, err := telemetry.New(ctx, telemetry.Config{…})
//	…
//	defer tel.Shutdown() // after everything that logs, counts or traces
//
// It knows neither queues nor WeChat: what is counted stands beside the code that it counts.
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

// Config is what the telemetry of a process is made of.
type Config struct {
	Out           io.Writer // of the log
	Level, Format string    // of the log, as [NewLogger] takes them
	Version       string    // of the program
	Commit        string
	// Once is for a command that runs once: it may be traced, but its metrics are sent to nobody.
	Once bool
	// LookupEnv finds the variables that decide whether anything is sent by OTLP. How it is sent, the exporters read from
	// the environment of the process.
	LookupEnv func(string) (string, bool)
}

// Telemetry is what the parts of a process log, count and trace with. Shutdown ends it.
type Telemetry struct {
	Log      *slog.Logger
	Registry *prometheus.Registry
	// Tracers makes the tracers of all packages; nil = nothing is traced, which costs nothing.
	Tracers trace.TracerProvider

	quiet *quietHandler
	stops []func(context.Context) error // of exporters, in the order of their start
}

// New makes the telemetry of a process. It connects to nothing yet: an OTLP collector that is away loses what is sent
// to it, with a line in the log, and stops nobody. An error is one of the OTEL_… variables.
func New(ctx context.Context, cfg Config) (*Telemetry, error) {
	quiet := newQuietHandler(newHandler(cfg.Out, cfg.Level, cfg.Format))
	t := &Telemetry{
		Log: slog.New(tracedHandler{quiet}), Registry: newRegistry(cfg.Version, cfg.Commit), quiet: quiet,
	}
	if err := t.startOTLP(ctx, cfg); err != nil {
		return nil, errors.Join(fmt.Errorf("setting OpenTelemetry up: %s", secret.URLsIn(err.Error())), t.stop(ctx))
	}
	return t, nil
}

// flushFor bounds what an exporter may take to get rid of what it holds.
const flushFor = 3 * time.Second

// Shutdown sends what the exporters still hold, for at most 3 seconds, and writes what the log has held back. It returns
// when all goroutines of the telemetry have ended.
func (t *Telemetry) Shutdown() {
	ctx, cancel := context.WithTimeout(context.Background(), flushFor)
	defer cancel()
	if err := t.stop(ctx); err != nil {
		t.Log.Warn("the last traces or metrics could not be sent", "error", err)
	}
	t.quiet.close()
}

func (t *Telemetry) stop(ctx context.Context) error {
	var faults []error
	for _, stop := range t.stops {
		faults = append(faults, stop(ctx))
	}
	return errors.Join(faults...)
}
