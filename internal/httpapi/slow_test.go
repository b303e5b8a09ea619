package httpapi_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"cloudidq/internal/httpapi"
	"cloudidq/store"
	"cloudidq/tasks"
)

// dial opens a connection and sends the start of a request.
func (b *fixture) dial(head string) net.Conn {
	b.Helper()
	conn, err := (&net.Dialer{}).DialContext(b.Context(), "tcp", strings.TrimPrefix(b.url, "http://"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetReadDeadline(time.Now().Add(3 * time.Minute)); err != nil { // in case the server never closes it
		b.Fatal(err)
	}
	if _, err := io.WriteString(conn, head); err != nil {
		b.Fatal(err)
	}
	return conn
}

const (
	slowHead = "POST /v1/resolutions HTTP/1.1\r\nHost: localhost\r\nX-Slow: "
	slowBody = "POST /v1/resolutions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n{"
	idleHead = "GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n"
)

// Slow clients that send a byte from time to time are disconnected one by one. There
// are more of them than the server allows connections, and a client that comes later is still
// served.
func TestRun_SlowClients_AreDisconnected(t *testing.T) {
	t.Parallel()
	const each = 100
	b := newFixtureWithConfig(t, httpapi.Config{MaxConnections: 2 * each}, func(s *httpapi.Server) {
		s.SetHTTPTiming(2*time.Second, 2*time.Second, 2*time.Second, time.Minute)
	})
	var conns []net.Conn
	for range each {
		for _, head := range []string{slowHead, slowBody, idleHead} {
			conns = append(conns, b.dial(head))
		}
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
			case <-stop:
				return
			}
			for i, conn := range conns {
				if i%3 < 2 { // idle connections send nothing
					_, _ = conn.Write([]byte("a")) // an error means that the server has closed it
				}
			}
		}
	}()
	got := b.call("POST", "/v1/resolutions", `{"appid":"wxA","cloud_ids":["73_1"]}`)
	if got.status != 202 {
		t.Errorf("a good request among slow clients = %d %s, want 202", got.status, got.body)
	}
	for i, conn := range conns {
		text, err := io.ReadAll(conn)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("connection %d is still open", i)
		}
		if i%3 == 1 && !strings.HasPrefix(string(text), "HTTP/1.1 408 ") && len(text) > 0 { // data that the client still sends may cause a reset before the response
			t.Fatalf("a slow body got %.100s, want 408", text)
		}
	}
	quiet, err := io.ReadAll(b.dial(slowBody))
	if err != nil || !strings.HasPrefix(string(quiet), "HTTP/1.1 408 ") || !strings.Contains(string(quiet), `"status":408`) {
		t.Errorf("a stalled body got %s, %v; want a problem of status 408", quiet, err)
	}
	close(stop)
	<-stopped
	if n := len(b.queued(tasks.QueueEvents)); n != 1 {
		t.Errorf("%d tasks are queued, want that of the good request", n)
	}
}

// Hundreds of slow clients within the limit do not delay other clients.
func TestRun_SlowClients_DoNotDelayOthers(t *testing.T) {
	t.Parallel()
	b := newFixture(t)
	for range 100 {
		for _, head := range []string{slowHead, slowBody, idleHead} {
			b.dial(head)
		}
	}
	for range 20 {
		if got := b.call("POST", "/v1/resolutions", `{"appid":"wxA","cloud_ids":["73_1"]}`); got.status != 202 {
			t.Fatalf("answer = %d %s", got.status, got.body)
		}
	}
}

// A client that does not read its response is disconnected too.
func TestRun_ClientThatDoesNotRead_IsDisconnected(t *testing.T) {
	t.Parallel()
	b := newFixtureWithConfig(t, httpapi.Config{}, func(s *httpapi.Server) {
		s.SetHTTPTiming(time.Minute, time.Minute, time.Minute, 500*time.Millisecond)
	})
	ids := make([]string, 100)
	large, err := json.Marshal(map[string]string{"text": strings.Repeat("x", 80_000)})
	if err != nil {
		t.Fatal(err)
	}
	for i := range ids {
		ids[i] = "73_" + strings.Repeat("0", i)
		rec := store.Record{AppID: "wxA", CloudID: ids[i], Status: store.Resolved, Kind: "other", Data: large}
		if err := b.results.Save(t.Context(), "t", []store.Record{rec}); err != nil {
			t.Fatal(err)
		}
	}
	body, err := json.Marshal(map[string]any{"appid": "wxA", "cloud_ids": ids})
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), "POST", b.url+"/v1/resolutions/lookup", strings.NewReader(string(body)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	conn := b.dial("")
	if err := req.Write(conn); err != nil {
		t.Fatal(err)
	}
	b.until("the request has finished", func() bool { return strings.Contains(b.log.String(), "route=/v1/resolutions/lookup status=200") })
	resp, err := http.ReadResponse(bufio.NewReader(conn), req)
	if err != nil {
		return // closed before the first byte
	}
	defer func() { _ = resp.Body.Close() }()
	if text, err := io.ReadAll(resp.Body); err == nil {
		t.Errorf("the client got the whole response, %d bytes", len(text))
	}
}

// A request whose body breaks off is not carried out.
func TestResolve_BodyBreaksOff(t *testing.T) {
	t.Parallel()
	b := newFixture(t)
	whole := `{"appid":"wxA","cloud_ids":["73_planted"]}`
	for _, head := range []string{"Content-Length: 1000\r\n\r\n" + whole, "Transfer-Encoding: chunked\r\n\r\n2a\r\n" + whole + "\r\n"} {
		before := strings.Count(b.log.String(), "route=/v1/resolutions ")
		conn := b.dial("POST /v1/resolutions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n" + head)
		_ = conn.Close()
		b.until("the request has finished", func() bool { return strings.Count(b.log.String(), "route=/v1/resolutions ") > before })
	}
	if n := len(b.queued(tasks.QueueEvents)); n != 0 || strings.Contains(b.log.String(), "planted") {
		t.Errorf("%d tasks are queued; log = %s", n, b.log.String())
	}
}
