package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"cloudidq/internal/porttest"
	"cloudidq/internal/wechat/wechattest"
)

// opsAddr returns the address at which a process serves health and metrics.
func (p *process) opsAddr(t *testing.T) string {
	t.Helper()
	var addr string
	waitFor(t, "the ops listener", func() bool {
		for line := range strings.Lines(p.err.String()) {
			var said struct{ Msg, Addr string }
			if json.Unmarshal([]byte(line), &said) == nil && said.Msg == "serving health and metrics" {
				addr = said.Addr
			}
		}
		return addr != ""
	})
	return addr
}

// fetch requests a path from an address. It returns 0 if there is no answer.
func fetch(t *testing.T, addr, path string) (status int, text string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(request)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err.Error()
	}
	return response.StatusCode, string(body)
}

// When a process begins to stop, /readyz reports it first, while the process finishes its tasks.
func TestOps_NotReadyWhileStopping(t *testing.T) {
	t.Parallel()
	s := newSite(t, wechattest.Config{Seed: 31})
	wechat := s.newGate(t, 0)
	s.configure(t, "worker: {shutdown_timeout: 10m}")
	addr := porttest.Reserve(t)
	s.env = append(s.env, "CLOUDIDQ_OPS_LISTEN="+addr, "CLOUDIDQ_API_LISTEN=127.0.0.1:0")
	twin := s.twin(t)
	w := s.start(t, "serve", "--config", s.config)
	waitFor(t, "serve to be ready", func() bool { status, _ := fetch(t, addr, "/readyz"); return status == http.StatusOK })
	if status, text := fetch(t, addr, "/readyz"); status != http.StatusOK || text != "redis: ok\n" {
		t.Errorf("/readyz = %d %q", status, text)
	}
	if status, text := fetch(t, addr, "/metrics"); status != http.StatusOK || !strings.Contains(text, "cloudidq_build_info{") {
		t.Errorf("/metrics = %d %.200s", status, text)
	}
	if p := s.start(t, "healthcheck", "--config", s.config, "--ready"); p.status(t) != 0 {
		t.Errorf("healthcheck --ready = %s, want exit 0", p.err.String())
	}
	s.enqueueMany(t, twin, 1, 1)
	waitFor(t, "a request in flight", func() bool { return wechat.blocked() > 0 })
	if err := w.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "503", func() bool { status, text := fetch(t, addr, "/readyz"); return status == 503 && text == "stopping\n" })
	if status, _ := fetch(t, addr, "/healthz"); status != http.StatusOK {
		t.Errorf("/healthz = %d while it stops, want 200, so that the process is not killed",
			status)
	}
	if p := s.start(t, "healthcheck", "--config", s.config, "--ready"); p.status(t) != 1 || !strings.Contains(p.err.String(), "unhealthy: stopping") {
		t.Errorf("healthcheck --ready = %s, want the problem and exit 1", p.err.String())
	}
	wechat.open()
	if status := w.status(t); status != 0 {
		t.Errorf("exit %d after SIGTERM: %s", status, w.err.String())
	}
	if p := s.start(t, "healthcheck", "--config", s.config); p.status(t) != 1 {
		t.Errorf("healthcheck without a process = %s, want exit 1", p.err.String())
	}
}

func TestOps_NotReadyWithoutRedis(t *testing.T) {
	t.Parallel()
	s := newSite(t, wechattest.Config{Seed: 32})
	addr := s.worker(t).opsAddr(t)
	waitFor(t, "the worker to be ready", func() bool { status, _ := fetch(t, addr, "/readyz"); return status == http.StatusOK })
	rdb := s.redis.Client(t)
	for _, full := range []struct{ maxmemory, word string }{{"1", "redis: takes no writes (OOM)\n"}, {"0", "redis: ok\n"}} {
		if err := rdb.ConfigSet(t.Context(), "maxmemory", full.maxmemory).Err(); err != nil {
			t.Fatal(err)
		}
		waitFor(t, full.word, func() bool { _, text := fetch(t, addr, "/readyz"); return text == full.word })
	}
	s.redis.Kill()
	waitFor(t, "503", func() bool {
		status, text := fetch(t, addr, "/readyz")
		return status == 503 && text == "redis: does not answer\n"
	})
	if status, _ := fetch(t, addr, "/healthz"); status != http.StatusOK {
		t.Errorf("/healthz = %d without Redis, want 200, because a restart would not help", status)
	}
	s.redis.Restart()
	waitFor(t, "200", func() bool { status, _ := fetch(t, addr, "/readyz"); return status == http.StatusOK })
}

// If its ops port is in use, a process reports which setting to change and processes no task.
func TestOps_PortTaken(t *testing.T) {
	t.Parallel()
	s := newSite(t, wechattest.Config{Seed: 33})
	addr := s.worker(t).opsAddr(t)
	s.env = append(s.env, "CLOUDIDQ_OPS_LISTEN="+addr)
	second := s.start(t, "worker", "--config", s.config)
	if status := second.status(t); status != 1 || !strings.Contains(second.err.String(), "ops.listen") {
		t.Errorf("exit %d, %s; want 1 and the name of the setting", status, second.err.String())
	}
	if strings.Contains(second.err.String(), "the worker is up") {
		t.Error("the worker started before it failed")
	}
}

func TestTelemetry_InvalidVariable(t *testing.T) {
	t.Parallel()
	s := newSite(t, wechattest.Config{Seed: 34})
	s.env = append(s.env, "OTEL_TRACES_EXPORTER=planted")
	p := s.start(t, "worker", "--config", s.config)
	if status := p.status(t); status != exitUsage || !strings.Contains(p.err.String(), "setting up OpenTelemetry: ") {
		t.Errorf("exit %d, %s; want 2 and the problem", status, p.err.String())
	}
}

func TestHealthcheck_Address(t *testing.T) {
	for listen, want := range map[string]string{"off": ": ops.listen: is off", "'127.0.0.1:0'": ": ops.listen: has port 0"} {
		path := writeConfig(t, "ops: {listen: "+listen+"}\nstore: {encryption: off}\napps: [{appid: wx1, token: {mode: sidecar}}]\n")
		if status, _, said := invoke(t, "healthcheck", "--config", path); status != exitUsage || !strings.HasPrefix(said, path+":1"+want) {
			t.Errorf("healthcheck with ops.listen %s = %d %s, want 2 and %q", listen, status, said, want)
		}
	}
	for listen, want := range map[string]string{
		"0.0.0.0:9090": "localhost:9090", ":9090": "localhost:9090", "[::]:9090": "localhost:9090",
		"10.1.2.3:9090": "10.1.2.3:9090", "[fd00::1]:80": "[fd00::1]:80", "ops.local:9": "ops.local:9",
	} {
		if got, err := healthAddress(listen); err != nil || got != want {
			t.Errorf("healthAddress(%q) = %q, %v, want %q", listen, got, err, want)
		}
	}
}
