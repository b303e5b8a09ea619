package store_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"cloudidq/internal/coord"
	"cloudidq/internal/redistest"
	"cloudidq/store"
)

// failing is a store whose Save returns a fixed error.
type failing struct {
	store.Results
	err error
}

func (f failing) Save(context.Context, string, []store.Record) error { return f.err }

// timed returns the calls that were timed.
func timed(t *testing.T, registry *prometheus.Registry) (all []string) {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range families[0].GetMetric() {
		if n := m.GetHistogram().GetSampleCount(); n > 0 {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetValue())
			}
			all = append(all, fmt.Sprintf("%s=%d", strings.Join(labels, " "), n))
		}
	}
	return all
}

func TestObserved_TimesEveryCall(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	m := store.NewMetrics(registry)
	rdb := redistest.Start(t).Client(t)
	s := store.Observed(store.NewRedis(rdb, time.Hour), m, nil)
	rec := store.Record{AppID: "wx1", OpenID: "o1", CloudID: "73_a", Status: store.Pending, AcceptedAt: store.At(time.Now())}
	if _, err := s.Claim(t.Context(), store.Claim{AppID: "wx1", TaskID: "t", For: time.Minute, Records: []store.Record{rec}}); err != nil {
		t.Fatal(err)
	}
	rec.Status, rec.Data = store.Resolved, []byte(`{}`)
	rec.Deliver = store.Outlet{Endpoint: "orders"}
	if err := s.Save(t.Context(), "t", []store.Record{rec}); err != nil {
		t.Fatal(err)
	}
	if found, err := s.Lookup(t.Context(), "wx1", []string{"73_a"}); err != nil || found[0].Status != store.Resolved {
		t.Fatalf("Lookup = %v, %v", found, err)
	}
	d := store.ObserveDeliveries(store.NewDeliveries(rdb), m, nil)
	id, _, err := d.Cut(t.Context(), "wx1", "orders", 10)
	if err != nil {
		t.Fatal(err)
	}
	if loaded, err := d.Load(t.Context(), id); err != nil || len(loaded.Items) != 1 {
		t.Fatalf("Load = %v, %v", loaded, err)
	}
	if _, err := d.Load(t.Context(), "msg_none"); !errors.Is(err, store.ErrNoDelivery) {
		t.Fatalf("Load of none = %v", err)
	}
	if err := d.RecordAttempt(t.Context(), id, store.DeliveryDelivered, time.Now(), nil, false); err != nil {
		t.Fatal(err)
	}
	if n, err := s.Erase(t.Context(), "wx1", "o1"); err != nil || n != 1 {
		t.Fatalf("Erase = %d, %v", n, err)
	}
	_ = store.Observed(failing{err: errors.New("away")}, m, nil).Save(t.Context(), "t", nil)
	_ = store.Observed(failing{err: fmt.Errorf("saving: %w", context.Canceled)}, m, nil).Save(t.Context(), "t", nil)
	want := []string{
		"redis claim ok=1", "redis cut ok=1", "redis erase ok=1", "redis load ok=2", "redis lookup ok=1",
		"redis save canceled=1", "redis save error=1", "redis save ok=1", "redis settle ok=1",
	}
	if got := timed(t, registry); !slices.Equal(got, want) {
		t.Errorf("calls %q, want %q", got, want)
	}
}

// A call is part of the trace of its context. Background work and waiting start no trace.
func TestObserved_SpansOnlyWithinATrace(t *testing.T) {
	spans := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	defer func() { _ = provider.Shutdown(context.Background()) }()
	s := store.Observed(failing{
		Results: store.NewRedis(redistest.Start(t).Client(t), time.Hour), err: errors.New("dial 10.0.0.7: planted"),
	}, store.NewMetrics(prometheus.NewRegistry()), provider)
	if _, err := s.Lookup(t.Context(), "wx1", []string{"73_planted"}); err != nil {
		t.Fatal(err)
	}
	ctx, parent := provider.Tracer("test").Start(t.Context(), "process")
	if _, err := s.Lookup(ctx, "wx1", []string{"73_planted", "73_planted2"}); err != nil {
		t.Fatal(err)
	}
	_ = s.Save(ctx, "t", []store.Record{{CloudID: "73_planted"}})
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if _, err := store.Wait(short, s, "wx1", []string{"73_planted"}, store.EarlierFinals{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Wait = %v", err)
	}
	parent.End()
	var got []string
	for _, span := range spans.Ended() {
		if text := fmt.Sprint(span.Name(), span.Attributes(), span.Status(), span.Events()); strings.Contains(text, "planted") {
			t.Errorf("a span contains submitted data or a driver's text: %s", text)
		}
		if span.Name() != "process" && span.Parent().SpanID() != parent.SpanContext().SpanID() {
			t.Errorf("%s has parent %v", span.Name(), span.Parent())
		}
		got = append(got, span.Name()+" "+span.Status().Code.String())
	}
	if want := []string{"lookup redis Unset", "save redis Error", "process Unset"}; !slices.Equal(got, want) {
		t.Errorf("spans %q, want %q", got, want)
	}
}

func TestLeases_OneHolder(t *testing.T) {
	srv := redistest.Start(t)
	leases, ctx := coord.NewLeases(srv.Client(t)), t.Context()
	acquire := func(name, holder string, ttl time.Duration) bool {
		t.Helper()
		acquired, err := leases.Hold(ctx, name, holder, ttl)
		if err != nil {
			t.Fatal(err)
		}
		return acquired
	}
	if !acquire("quota", "a", time.Minute) || acquire("quota", "b", time.Minute) || !acquire("quota", "a", time.Minute) {
		t.Error("want a to acquire and renew the lease, and b not to acquire it")
	}
	if !acquire("other", "b", time.Minute) {
		t.Error("want b to acquire another lease")
	}
	if err := leases.Release(ctx, "quota", "b"); err != nil || acquire("quota", "b", time.Minute) {
		t.Errorf("b has released the lease of a, %v", err)
	}
	if err := leases.Release(ctx, "quota", "a"); err != nil || !acquire("quota", "b", time.Millisecond) {
		t.Errorf("a has released the lease, %v, want b to acquire it", err)
	}
	for attempts := 0; !acquire("quota", "a", time.Minute); attempts++ { // wait for b's lease to lapse
		if attempts == 1000 {
			t.Fatal("the lease has not lapsed after 1000 attempts")
		}
	}
	srv.Kill()
	if _, err := leases.Hold(ctx, "quota", "a", time.Minute); err == nil {
		t.Error("Hold = nil without Redis")
	}
}
