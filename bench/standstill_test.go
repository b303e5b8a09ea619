package bench

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cloudidq/store"
	"cloudidq/tasks"
)

const (
	settleFor = 20 * time.Second // until every delivery has been looked at once
	watchFor  = 30 * time.Second
	others    = 20_000 // results for another endpoint
)

// BenchmarkStandstill is what an endpoint costs that takes nothing, while deliveries wait for it: attempts and commands
// of Redis a second, those of an idle worker apart, and what is left of another endpoint's rate.
func BenchmarkStandstill(b *testing.B) {
	n := size(b, "BENCH_WAITING", 5_000)
	sim := startSimulator(b)
	var attempts atomic.Int64
	handlers := map[string]http.HandlerFunc{
		"refuses": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) },
		"hangs": func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
		},
	}
	for _, name := range []string{"idle", "refuses", "hangs"} {
		b.Run(name, func(b *testing.B) {
			dead := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				attempts.Add(1)
				handlers[name](w, r)
			}))
			b.Cleanup(dead.Close)
			b.Cleanup(dead.CloseClientConnections)
			for b.Loop() {
				d := newDeliverBed(b, sim, false)
				alive := newEndpoint(b, others)
				w := d.worker(b, alive, hookAt(b, "dead", dead.URL, 1))
				if name != "idle" {
					d.save(b, "dead", n)
				}
				ctx, stop := context.WithCancel(b.Context())
				ended := make(chan error, 1)
				go func() { ended <- w.Run(ctx) }()
				time.Sleep(settleFor)
				before, tried := d.commands(b), attempts.Load()
				time.Sleep(watchFor)
				b.ReportMetric(float64(d.commands(b)-before)/watchFor.Seconds(), "commands/s")
				b.ReportMetric(float64(attempts.Load()-tried)/watchFor.Seconds(), "attempts/s")
				producer := tasks.NewClient(d.rdb, tasks.Options{})
				begun := time.Now()
				if _, err := producer.ResolveAll(b.Context(), tasks.Request{AppID: appID, Items: items(taps(others))}); err != nil {
					b.Fatal(err)
				}
				alive.wait(b)
				b.ReportMetric(others/time.Since(begun).Seconds(), "others-results/s")
				producer.Close()
				b.ReportMetric(0, "ns/op")
				dead.CloseClientConnections()
				stop()
				if err := <-ended; err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// save leaves n results for an endpoint, which a worker finds when it sweeps.
func (d *deliverBed) save(b *testing.B, endpoint string, n int) {
	b.Helper()
	now := store.At(time.Now())
	for at := 0; at < n; at += 1000 {
		records := make([]store.Record, min(1000, n-at))
		for i := range records {
			records[i] = store.Record{
				AppID: appID, CloudID: fmt.Sprintf("73_%s_%d", endpoint, at+i), Status: store.Resolved, Kind: "werun",
				Data: []byte(`{"stepInfoList":[]}`), Deliver: store.Outlet{Endpoint: endpoint}, AcceptedAt: now, FinishedAt: now,
			}
		}
		if err := d.results.Save(b.Context(), "t", records); err != nil {
			b.Fatal(err)
		}
	}
}

// commands is how many Redis has executed, those inside of scripts among them.
func (d *deliverBed) commands(b *testing.B) (sum int64) {
	b.Helper()
	text, err := d.rdb.Info(b.Context(), "commandstats").Result()
	if err != nil {
		b.Fatal(err)
	}
	for scan := bufio.NewScanner(strings.NewReader(text)); scan.Scan(); {
		if _, rest, found := strings.Cut(scan.Text(), "calls="); found {
			count, _, _ := strings.Cut(rest, ",")
			calls, _ := strconv.ParseInt(count, 10, 64)
			sum += calls
		}
	}
	return sum
}
