package ops_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"cloudidq/internal/ops"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// On a loopback address, a web page whose name resolves to this address gets no data.
func TestServeHTTP_Hosts(t *testing.T) {
	s, err := ops.New(ops.Config{Listen: "127.0.0.1:0", Hosts: func(host string) bool { return host == "localhost" }},
		prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
		for host, want := range map[string]bool{"localhost": true, "planted.example": false} {
			w := httptest.NewRecorder()
			r := httptest.NewRequestWithContext(t.Context(), "GET", path, nil)
			r.Host = host
			s.ServeHTTP(w, r)
			if rejected := w.Code == http.StatusMisdirectedRequest; rejected == want {
				t.Errorf("GET %s of %s = %d", path, host, w.Code)
			}
		}
	}
}

func newServer(t *testing.T, metrics prometheus.Gatherer, parts ...string) *ops.Server {
	t.Helper()
	s, err := ops.New(ops.Config{Listen: "127.0.0.1:0", Parts: parts}, metrics, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func get(t *testing.T, s http.Handler, path string) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
	return w.Code, w.Body.String()
}

func TestReadyz_FromStartToStop(t *testing.T) {
	s := newServer(t, prometheus.NewRegistry(), "api", "worker")
	want := func(status int, text string) {
		t.Helper()
		if gotStatus, got := get(t, s, "/readyz"); gotStatus != status || got != text {
			t.Errorf("/readyz = %d %q, want %d %q", gotStatus, got, status, text)
		}
		if gotStatus, got := get(t, s, "/healthz"); gotStatus != http.StatusOK || got != "ok\n" {
			t.Errorf("/healthz = %d %q, want ok", gotStatus, got)
		}
	}
	want(503, "api: starting\nworker: starting\n")
	var fault atomic.Pointer[error]
	redis := ops.Check{Name: "redis", Ask: func(context.Context) error {
		if err := fault.Load(); err != nil {
			return *err
		}
		return nil
	}}
	s.Up("worker", redis)
	want(503, "api: starting\nredis: ok\n")
	s.Up("api", redis, ops.Check{Name: "store", Ask: func(context.Context) error { return nil }})
	want(200, "redis: ok\nstore: ok\n")
	err := errors.New("dial tcp 10.0.0.7:6379: planted")
	fault.Store(&err)
	want(503, "redis: does not answer\nstore: ok\n")
	err = fmt.Errorf("planted: %w", ops.Fault("takes no writes (OOM)"))
	fault.Store(&err)
	want(503, "redis: takes no writes (OOM)\nstore: ok\n")
	fault.Store(nil)
	want(200, "redis: ok\nstore: ok\n")
	s.Stopping()
	s.Stopping()
	want(503, "stopping\n")
}

// A check that hangs makes the process not ready, within the second that probes usually wait.
func TestReadyz_HangingCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, prometheus.NewRegistry())
		s.Up("worker", ops.Check{Name: "redis", Ask: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }})
		begun := time.Now()
		if status, _ := get(t, s, "/readyz"); status != 503 || time.Since(begun) > time.Second {
			t.Errorf("/readyz = %d after %s, want 503 within a second", status, time.Since(begun))
		}
	})
}

// broken is a collector whose metric always fails.
type broken struct{ desc *prometheus.Desc }

func (b broken) Describe(ch chan<- *prometheus.Desc) { ch <- b.desc }
func (b broken) Collect(ch chan<- prometheus.Metric) {
	ch <- prometheus.NewInvalidMetric(b.desc, errors.New("no answer"))
}

func TestMetrics_FailingMetricDoesNotHideOthers(t *testing.T) {
	registry := prometheus.NewRegistry()
	fine := prometheus.NewCounter(prometheus.CounterOpts{Name: "cloudidq_fine_total", Help: "x"})
	registry.MustRegister(fine, broken{prometheus.NewDesc("cloudidq_broken", "x", nil, nil)})
	status, text := get(t, newServer(t, registry), "/metrics")
	if status != http.StatusOK || !strings.Contains(text, "cloudidq_fine_total 0") {
		t.Errorf("/metrics = %d %q, want the other metric", status, text)
	}
}

func TestServer_OtherPathsAndMethods(t *testing.T) {
	s := newServer(t, prometheus.NewRegistry())
	if status, _ := get(t, s, "/debug/pprof/"); status != http.StatusNotFound {
		t.Errorf("/debug/pprof/ = %d, want 404", status)
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/metrics", nil))
	if w.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST /metrics = %d, want 405", w.Code)
	}
}

func TestRun_ServesAndStops(t *testing.T) {
	s := newServer(t, prometheus.NewRegistry())
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	<-s.Ready()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.Addr()+"/healthz", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	text, _ := io.ReadAll(response.Body)
	_ = response.Body.Close()
	if string(text) != "ok\n" || response.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("/healthz = %q, %v", text, response.Header)
	}
	second, err := ops.New(ops.Config{Listen: s.Addr()}, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "ops.listen") {
		t.Errorf("a second server on the same port = %v, want an error that names the setting", err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run() = %v, want nil", err)
	}
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	if _, err := ops.New(ops.Config{Listen: "9090"}, prometheus.NewRegistry(), nil); err == nil {
		t.Error("New accepts an address without a port")
	}
}
