package queue

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"cloudidq/tasks"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testApp = "wx0000000000000001"

// payloadOf returns a payload of n cloudIDs of different users.
func payloadOf(n int, obtained time.Time) tasks.ResolvePayload {
	p := tasks.ResolvePayload{Version: tasks.PayloadVersion, AppID: testApp, AcceptedAt: obtained}
	for i := range n {
		p.Items = append(p.Items, tasks.Item{
			CloudID: fmt.Sprintf("73_%03d", i), OpenID: fmt.Sprintf("o%d", i),
			ObtainedAt: obtained, Reference: fmt.Sprint(i),
		})
	}
	return p
}

// await waits until a condition holds.
func await(t *testing.T, what string, is func() bool) {
	t.Helper()
	limit := time.After(5 * time.Minute) // on a very busy machine
	for !is() {
		select {
		case <-limit:
			t.Fatalf("waited in vain for %s", what)
		case <-time.After(10 * time.Millisecond):
		}
	}
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

// shown lists the series of a metric that are not 0.
func shown(t *testing.T, registry *prometheus.Registry, name string) string {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, family := range families {
		for _, m := range family.GetMetric() {
			value := m.GetCounter().GetValue() + m.GetGauge().GetValue()
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
