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
	watchFor = 20 * time.Second
	others   = 20_000 // number of results for another endpoint
)

// deadEndpoint accepts no delivery until well is set.
type deadEndpoint struct {
	server   *httptest.Server
	hangs    bool
	well     atomic.Bool
	attempts atomic.Int64
	taken    atomic.Int64
}

func newDeadEndpoint(b *testing.B, hangs bool) *deadEndpoint {
	b.Helper()
	e := &deadEndpoint{hangs: hangs}
	e.server = httptest.NewServer(e)
	b.Cleanup(e.server.Close)
	b.Cleanup(e.server.CloseClientConnections)
	return e
}

// ServeHTTP implements [http.Handler].
func (e *deadEndpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	e.attempts.Add(1)
	switch {
	case e.well.Load():
		time.Sleep(hookAnswers)
		e.taken.Add(1)
	case e.hangs:
		<-r.Context().Done()
	default:
		w.WriteHeader(http.StatusServiceUnavailable)
	}
}

// BenchmarkStandstill measures the cost of an endpoint that accepts nothing while deliveries
// wait for it. It reports the attempts and Redis commands per second, and the rate of another
// endpoint meanwhile. It also reports how fast the waiting deliveries go out after the endpoint
// has recovered.
func BenchmarkStandstill(b *testing.B) {
	n := size(b, "BENCH_WAITING", 5_000)
	sim := startSimulator(b)
	for _, name := range []string{"idle", "refuses", "hangs"} {
		waiting := n
		if name == "idle" {
			waiting = 0
		}
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				d, alive, dead := newDeliverEnv(b, sim, false), newEndpoint(b, others), newDeadEndpoint(b, name == "hangs")
				w := d.worker(b, alive, hookAt(b, "dead", dead.server.URL, 1))
				d.save(b, "dead", waiting)
				ctx, stop := context.WithCancel(b.Context())
				stopped := make(chan error, 1)
				go func() { stopped <- w.Run(ctx) }()
				if waiting > 0 {
					d.awaitParked(b, waiting)
				}
				d.standstill(b, alive, dead)
				if waiting > 0 {
					d.recovery(b, dead, waiting)
				}
				stop()
				if err := <-stopped; err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// awaitParked waits until the endpoint's circuit is open and all deliveries except those already
// attempted are in the wait list.
func (d *deliverEnv) awaitParked(b *testing.B, waiting int) {
	b.Helper()
	for limit := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		state, err := d.deliveries.Endpoint(b.Context(), "dead")
		if err != nil {
			b.Fatal(err)
		}
		n, err := d.deliveries.Parked(b.Context(), "dead")
		if err != nil {
			b.Fatal(err)
		}
		if !state.OpenUntil.IsZero() && n >= waiting-50 {
			return
		}
		if time.Now().After(limit) {
			b.Fatalf("%d in line, endpoint %+v", n, state)
		}
	}
}

// standstill measures while no delivery succeeds. It then measures the rate of another endpoint.
func (d *deliverEnv) standstill(b *testing.B, alive *endpoint, dead *deadEndpoint) {
	b.Helper()
	before, tried := d.commands(b), dead.attempts.Load()
	time.Sleep(watchFor)
	b.ReportMetric(float64(d.commands(b)-before)/watchFor.Seconds(), "commands/s")
	b.ReportMetric(float64(dead.attempts.Load()-tried)/watchFor.Seconds(), "attempts/s")
	producer := tasks.NewClient(d.rdb, tasks.Options{})
	defer producer.Close()
	begun := time.Now()
	if _, err := producer.ResolveAll(b.Context(), tasks.Request{AppID: appID, Items: items(taps(others))}); err != nil {
		b.Fatal(err)
	}
	alive.wait(b)
	b.ReportMetric(others/time.Since(begun).Seconds(), "others-results/s")
	b.ReportMetric(0, "ns/op")
}

// recovery measures from the first successful delivery after the endpoint has recovered to the
// last one. It does not wait for deliveries that wait for the next step of their schedule.
func (d *deliverEnv) recovery(b *testing.B, dead *deadEndpoint, waiting int) {
	b.Helper()
	want := int64(waiting) - dead.attempts.Load()
	dead.well.Store(true)
	dead.server.CloseClientConnections()
	if err := d.deliveries.OpenCircuit(b.Context(), "dead", time.Now()); err != nil {
		b.Fatal(err)
	}
	limit := time.After(2 * time.Minute)
	for dead.taken.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	begun := time.Now()
	for dead.taken.Load() < want {
		select {
		case <-limit:
			b.Fatalf("%d of %d have arrived", dead.taken.Load(), want)
		case <-time.After(time.Millisecond):
		}
	}
	b.ReportMetric(float64(want)/time.Since(begun).Seconds(), "back-deliveries/s")
}

// save stores n results for an endpoint. The worker finds them with its sweep.
func (d *deliverEnv) save(b *testing.B, endpoint string, n int) {
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

// commands returns how many commands Redis has executed, including those inside of scripts.
func (d *deliverEnv) commands(b *testing.B) (sum int64) {
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
