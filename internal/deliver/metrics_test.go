package deliver

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"cloudidq/internal/attempt"
	"cloudidq/internal/webhook"
	"cloudidq/store"
)

// counting returns the metrics of a process with the endpoint "orders", and their registry.
func counting() (*metrics, *prometheus.Registry) {
	registry := prometheus.NewRegistry()
	return newMetrics(registry, []Webhook{{Name: "orders"}}), registry
}

// shown lists the series of a metric that are not 0. A histogram is shown by its count.
func shown(t *testing.T, registry *prometheus.Registry, name string) string {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, family := range families {
		for _, m := range family.GetMetric() {
			value := m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			if family.GetName() != name || value == 0 {
				continue
			}
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetValue())
			}
			all = append(all, fmt.Sprintf("%s=%v", strings.Join(labels, " "), value))
		}
	}
	return strings.Join(all, ", ")
}

// wantShown compares metrics, by name, with what shown returns.
func wantShown(t *testing.T, registry *prometheus.Registry, want map[string]string) {
	t.Helper()
	for name, text := range want {
		if got := shown(t, registry, name); got != text {
			t.Errorf("%s: %s, want %s", name, got, text)
		}
	}
}

// Attempts, finished deliveries and the state of an endpoint are shown.
func TestMetrics_Deliveries(t *testing.T) {
	b := newDeliverEnv(t, webhook.Attempt{Status: 200, Class: webhook.OK, Duration: time.Millisecond})
	m, registry := counting()
	b.d.metrics = m
	if err := b.attempt(b.delivery(3)); err != nil {
		t.Fatal(err)
	}
	b.sender.attempt = webhook.Attempt{Status: 500, Class: webhook.Refused}
	if err := b.attempt(b.delivery(1)); attempt.Result(err) != attempt.Again {
		t.Fatal(err)
	}
	b.sender.attempt = webhook.Attempt{Status: 410, Class: webhook.Gone}
	_ = b.attempt(b.delivery(2))
	wantShown(t, registry, map[string]string{
		"cloudidq_webhook_attempt_duration_seconds": "gone orders=1, ok orders=1, refused orders=1",
		"cloudidq_webhook_deliveries_total":         "orders delivered=1, orders held=1",
		"cloudidq_webhook_results_total":            "orders=3",
	})
	watch := func() {
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // the state is read once
		w := &endpointWatch{lookOnce{b.rows}, b.d.endpoints, m}
		w.run(ctx)
	}
	watch()
	wantShown(t, registry, map[string]string{"cloudidq_webhook_endpoint_state": "orders disabled=1"})
	if err := b.rows.Enable(t.Context(), "orders"); err != nil {
		t.Fatal(err)
	}
	watch()
	wantShown(t, registry, map[string]string{"cloudidq_webhook_endpoint_state": "orders enabled=1"})
	if _, err := b.rows.EndpointFailed(t.Context(), "orders", true, time.Now()); err != nil {
		t.Fatal(err)
	}
	b.park(3)
	watch()
	wantShown(t, registry, map[string]string{
		"cloudidq_webhook_endpoint_state":     "orders failing=1",
		"cloudidq_webhook_deliveries_waiting": "orders=3",
	})
}

// lookOnce answers even though the context has ended.
type lookOnce struct{ *store.Deliveries }

func (l lookOnce) Endpoint(ctx context.Context, name string) (store.EndpointState, error) {
	return l.Deliveries.Endpoint(context.WithoutCancel(ctx), name)
}

func (l lookOnce) Parked(ctx context.Context, name string) (int, error) {
	return l.Deliveries.Parked(context.WithoutCancel(ctx), name)
}

// Endpoints that tasks name do not increase the number of series, which depends on the
// configuration only.
func TestMetrics_LabelsAreBounded(t *testing.T) {
	m, registry := counting()
	for i := range 1000 {
		name := fmt.Sprint("endpoint", i)
		m.attempted(name, webhook.Attempt{Class: webhook.Refused})
		m.recorded(&store.Delivery{Endpoint: name}, store.DeliveryHeld)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if n := len(family.GetMetric()); n > 12 {
			t.Errorf("%s has %d series", family.GetName(), n)
		}
	}
}
