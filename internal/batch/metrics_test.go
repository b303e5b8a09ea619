package batch

import (
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"cloudidq/internal/coord"
	"cloudidq/internal/wechat"
)

// Appids, reasons and errcodes from outside do not increase the number of series, which depends
// on the configuration only.
func TestMetrics_LabelsAreBounded(t *testing.T) {
	registry := prometheus.NewRegistry()
	m := NewMetrics(registry, wechat.NewAppLabels("wx1"))
	for i := range 1000 {
		appID := fmt.Sprint("wxmerchant", i)
		m.paced(appID, time.Second)
		m.pauseBegun(coord.Pause{AppID: appID, Code: 100_000 + i, Reason: fmt.Sprint("reason", i)})
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if n := len(family.GetMetric()); n > 2 {
			t.Errorf("%s has %d series", family.GetName(), n)
		}
	}
}
