package store

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
)

// observer times calls, and makes spans for calls that belong to a trace. It never starts a
// trace, so background work has no spans.
type observer struct {
	driver  string // the name that semconv uses
	metrics *Metrics
	tracer  trace.Tracer // nil = no spans
}

// The names of the drivers.
const (
	driverRedis    = "redis"
	driverPostgres = "postgresql"
)

func newObserver(driver string, m *Metrics, tracers trace.TracerProvider) observer {
	o := observer{driver: driver, metrics: m}
	if tracers != nil {
		o.tracer = tracers.Tracer("cloudidq/store")
	}
	return o
}

// begin starts the observation of a call on n records. Call the returned function to end it.
func (o observer) begin(ctx context.Context, operation string, n int) (context.Context, func(error)) {
	begun := time.Now()
	// Without a tracer, or outside a trace, only the time is recorded.
	if o.tracer == nil || !trace.SpanContextFromContext(ctx).IsValid() {
		return ctx, func(err error) { o.metrics.observe(o.driver, operation, err, time.Since(begun)) }
	}
	ctx, span := o.tracer.Start(ctx, operation+" "+o.driver, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(
		semconv.DBSystemNameKey.String(o.driver), semconv.DBOperationName(operation),
	))
	if n > 1 { // semconv defines no batch size for a single record
		span.SetAttributes(semconv.DBOperationBatchSize(n))
	}
	return ctx, func(err error) {
		o.metrics.observe(o.driver, operation, err, time.Since(begun))
		if err != nil { // leave out the text: it may come from a driver
			span.SetAttributes(semconv.ErrorTypeKey.String(resultError))
			span.SetStatus(codes.Error, "")
		}
		span.End()
	}
}

// Observed returns a store that times the calls of r, a [Redis] or [Postgres]. If tracers is
// not nil, the store also traces them.
func Observed(r Results, m *Metrics, tracers trace.TracerProvider) Results {
	driver := driverRedis
	if _, ok := r.(*Postgres); ok {
		driver = driverPostgres
	}
	m.expect(driver, opClaim, opSave, opLookup, opErase)
	return observed{r, newObserver(driver, m, tracers)}
}

// observed is the store that Observed returns.
type observed struct {
	results Results
	o       observer
}

// Claim implements [Results].
func (s observed) Claim(ctx context.Context, c Claim) ([]ClaimResult, error) {
	ctx, end := s.o.begin(ctx, opClaim, len(c.Records))
	results, err := s.results.Claim(ctx, c)
	end(err)
	return results, err
}

// Save implements [Results].
func (s observed) Save(ctx context.Context, taskID string, records []Record) error {
	ctx, end := s.o.begin(ctx, opSave, len(records))
	err := s.results.Save(ctx, taskID, records)
	end(err)
	return err
}

// Lookup implements [Results].
func (s observed) Lookup(ctx context.Context, appID string, cloudIDs []string) ([]Record, error) {
	ctx, end := s.o.begin(ctx, opLookup, len(cloudIDs))
	records, err := s.results.Lookup(ctx, appID, cloudIDs)
	end(err)
	return records, err
}

// Erase implements [Results].
func (s observed) Erase(ctx context.Context, appID, openID string) (int, error) {
	ctx, end := s.o.begin(ctx, opErase, 1)
	erased, err := s.results.Erase(ctx, appID, openID)
	end(err)
	return erased, err
}

// ObservedDeliveries are [Deliveries] that time and trace the worker's calls.
type ObservedDeliveries struct {
	*Deliveries
	o observer
}

// ObserveDeliveries does for deliveries what [Observed] does for a store.
func ObserveDeliveries(d *Deliveries, m *Metrics, tracers trace.TracerProvider) *ObservedDeliveries {
	m.expect(driverRedis, opCut, opLoad, opRecordAttempt)
	return &ObservedDeliveries{d, newObserver(driverRedis, m, tracers)}
}

// Cut is an observed [Deliveries.Cut].
func (d *ObservedDeliveries) Cut(ctx context.Context, appID, endpoint string, maximum int) (id string, left int, err error) {
	ctx, end := d.o.begin(ctx, opCut, 1)
	id, left, err = d.Deliveries.Cut(ctx, appID, endpoint, maximum)
	end(err)
	return id, left, err
}

// Load is an observed [Deliveries.Load].
func (d *ObservedDeliveries) Load(ctx context.Context, id string) (Delivery, error) {
	ctx, end := d.o.begin(ctx, opLoad, 1)
	delivery, err := d.Deliveries.Load(ctx, id)
	end(err)
	return delivery, err
}

// RecordAttempt is an observed [Deliveries.RecordAttempt].
func (d *ObservedDeliveries) RecordAttempt(
	ctx context.Context, id string, state DeliveryState, next time.Time, attempt *Attempt, counts bool,
) error {
	ctx, end := d.o.begin(ctx, opRecordAttempt, 1)
	err := d.Deliveries.RecordAttempt(ctx, id, state, next, attempt, counts)
	end(err)
	return err
}
