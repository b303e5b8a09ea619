package httpapi_test

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"cloudidq/internal/httpapi"
)

// patientServer sets all timeouts to an hour, so that no connection ends because of a timeout.
func patientServer(s *httpapi.Server) {
	s.SetHTTPTiming(time.Hour, time.Hour, time.Hour, time.Hour)
	s.SetConnTiming(time.Hour, time.Hour)
}

// noGraceServer closes anonymous connections at once if another one needs their slot. All other
// timeouts are an hour.
func noGraceServer(s *httpapi.Server) {
	patientServer(s)
	s.SetConnTiming(0, time.Hour)
}

// crowded returns a fixture with keys and room for 64 connections.
func crowded(t *testing.T, cfg httpapi.Config, change func(*httpapi.Server)) *fixture {
	t.Helper()
	cfg.Keys, cfg.MaxConnections = allKeys(), 64
	return newFixtureWithConfig(t, cfg, change)
}

// wantServed checks that a request with a valid key on a new connection succeeds.
func (b *fixture) wantServed() {
	b.Helper()
	conn := b.dial("POST /v1/resolutions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n" +
		"Authorization: Bearer " + admin + "\r\nContent-Length: 35\r\n\r\n" + `{"appid":"wxA","cloud_ids":["73_"]}`)
	if text, err := io.ReadAll(conn); err != nil || !strings.HasPrefix(string(text), "HTTP/1.1 202 ") {
		b.Fatalf("a valid key got %.200s, %v; want 202", text, err)
	}
}

// wantRejected reads a response with this status, and checks that the server closes the connection.
func wantRejected(t *testing.T, conn net.Conn, status int) {
	t.Helper()
	text, err := io.ReadAll(conn)
	if want := fmt.Sprintf("HTTP/1.1 %d ", status); err != nil || !strings.HasPrefix(string(text), want) ||
		!strings.Contains(string(text), "\r\nConnection: close\r\n") || !strings.Contains(string(text), fmt.Sprintf(`"status":%d`, status)) {
		t.Errorf("answer = %.300s, %v; want a problem of status %d and the connection closed", text, err, status)
	}
}

// wantClosed checks that the server closes a connection without a response.
func wantClosed(t *testing.T, conn net.Conn) {
	t.Helper()
	if text, err := io.ReadAll(conn); len(text) > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read %.100q, %v; want the connection closed", text, err)
	}
}

// Connections with unfinished bodies and without a key hold no slot, however many there are.
// The server rejects and closes each one after its header. It serves a valid key while the
// clients still hold all of these connections open.
func TestRun_UnfinishedBodies_HoldNoConnections(t *testing.T) {
	t.Parallel()
	b := crowded(t, httpapi.Config{}, patientServer)
	var conns []net.Conn
	for i := range 300 {
		head := fmt.Sprintf("POST /v1/backfills?appid=wxA HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n{", 2+i*1000)
		if i%2 == 1 {
			head = "POST /v1/resolutions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\n{"
		}
		conns = append(conns, b.dial(head))
	}
	b.wantServed()
	for _, conn := range conns {
		wantRejected(t, conn, 401)
	}
}

// Connections with unfinished headers are closed for new ones, the oldest first.
func TestRun_UnfinishedHeaders_AreEvicted(t *testing.T) {
	t.Parallel()
	// a trusted proxy has no limit of its own, so only the total counts
	b := crowded(t, httpapi.Config{TrustedProxies: trustedProxies}, noGraceServer)
	var conns []net.Conn
	for range 300 {
		conns = append(conns, b.dial("POST /v1/resolutions HTTP/1.1\r\nX-Slow: "))
		if len(conns)%50 == 0 {
			b.wantServed()
		}
	}
	for _, conn := range conns[:300-64] {
		wantClosed(t, conn)
	}
}

// The connections of one address are limited, and only its own connections are closed for that.
// A trusted proxy has no limit; instead, each client behind it has one.
func TestRun_AnonymousConnections_AreLimitedPerAddress(t *testing.T) {
	t.Parallel()
	const limit = 64 / 4
	rest := func(conn net.Conn) {
		t.Helper()
		if _, err := io.WriteString(conn, "x\r\nHost: x\r\nConnection: close\r\n\r\n"); err != nil {
			t.Errorf("a connection within the limit: %v", err)
		}
		wantRejected(t, conn, 401)
	}
	open := func(b *fixture, n int, head string) (conns []net.Conn) {
		t.Helper()
		for range n {
			conns = append(conns, b.dial(head))
		}
		return conns
	}
	const head = "GET /v1/status HTTP/1.1\r\nX-Slow: "

	direct := open(crowded(t, httpapi.Config{}, noGraceServer), limit+4, head)
	for _, conn := range direct[:4] {
		wantClosed(t, conn)
	}
	for _, conn := range direct[4:] {
		rest(conn)
	}

	b := crowded(t, httpapi.Config{TrustedProxies: trustedProxies}, noGraceServer)
	for _, conn := range open(b, limit+4, head) {
		rest(conn)
	}
	push := func(client string) string { // the server must read the body to verify WeChat's signature
		return "POST /v1/wechat/components/wxc/events HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: " + client + "\r\nContent-Length: 5\r\n\r\n<"
	}
	first := open(b, limit, push("198.51.100.1"))
	second := open(b, limit+4, push("198.51.100.2"))
	b.until("four connections of the second client are closed", func() bool {
		cut := 0
		for _, conn := range second { // the order of arrival is the server's
			_ = conn.SetReadDeadline(time.Now().Add(time.Millisecond))
			if _, err := conn.Read(make([]byte, 1)); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
				cut++
			}
		}
		return cut == 4
	})
	for _, conn := range first {
		if _, err := io.WriteString(conn, "xml>"); err != nil {
			t.Errorf("the first client's connection: %v", err)
		}
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || resp.StatusCode != 200 {
			t.Errorf("the first client's push = %v, %v", resp, err)
			continue
		}
		_ = resp.Body.Close()
	}
	b.wantServed()
}

// A request that can be rejected by its header alone is rejected, and its connection closed,
// without a byte of the body. This holds with and without a key, and also with TLS.
func TestRun_Rejections_DoNotWaitForBody(t *testing.T) {
	t.Parallel()
	const unfinished = "Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"
	key := func(of string) string { return "Authorization: Bearer " + of + "\r\n" }
	f := &files{}
	cert, private := newAuthority(t).issue(t, 1)
	f.put(cert, private, "")
	secure := newFixtureWithConfig(t, httpapi.Config{Keys: allKeys(), TLS: f.read}, patientServer)
	for name, tt := range map[string]struct {
		head string
		want int
	}{
		"NoKey":          {"POST /v1/resolutions HTTP/1.1\r\n" + unfinished, 401},
		"WrongKey":       {"POST /v1/resolutions HTTP/1.1\r\n" + key("wrong") + unfinished, 401},
		"Expects":        {"POST /v1/resolutions HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n", 401},
		"Browser":        {"POST /monitoring/api/queues/events:pause HTTP/1.1\r\n" + unfinished, 401},
		"OtherOrigin":    {"POST /v1/resolutions HTTP/1.1\r\nSec-Fetch-Site: cross-site\r\n" + unfinished, 403},
		"NoScope":        {"POST /v1/resolutions HTTP/1.1\r\n" + key(reader) + unfinished, 403},
		"NotToMonitor":   {"POST /monitoring/api/queues/events:pause HTTP/1.1\r\n" + key(shopA) + unfinished, 403},
		"NotItsApp":      {"POST /v1/backfills?appid=wxB HTTP/1.1\r\n" + key(shopA) + unfinished, 403},
		"NoRoute":        {"POST /v1/nothing HTTP/1.1\r\n" + key(admin) + unfinished, 404},
		"NoComponent":    {"POST /v1/wechat/components/none/events HTTP/1.1\r\n" + unfinished, 404},
		"OtherMethod":    {"PUT /v1/resolutions HTTP/1.1\r\n" + key(admin) + unfinished, 405},
		"TooLarge":       {"POST /v1/resolutions HTTP/1.1\r\n" + key(admin) + "Content-Length: 1000000\r\n\r\n{", 413},
		"PushTooLarge":   {"POST /v1/wechat/components/wxc/events HTTP/1.1\r\nContent-Length: 65537\r\n\r\n<", 413},
		"NoMediaType":    {"POST /v1/backfills?appid=wxA HTTP/1.1\r\n" + key(admin) + "Content-Type: text/csv\r\nContent-Length: 1000\r\n\r\n{", 415},
		"NoApp":          {"POST /v1/backfills HTTP/1.1\r\n" + key(admin) + unfinished, 422},
		"DescriptionTwo": {"POST /openapi.yaml HTTP/1.1\r\n" + unfinished, 405},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			head := strings.Replace(tt.head, "HTTP/1.1\r\n", "HTTP/1.1\r\nHost: x\r\n", 1)
			plain := secure.dialTLS()
			if _, err := io.WriteString(plain, head); err != nil {
				t.Fatal(err)
			}
			wantRejected(t, plain, tt.want)
		})
	}
	b := crowded(t, httpapi.Config{}, patientServer)
	for range 12 { // ten attempts, then 429
		b.call("GET", "/v1/status", "", "Authorization", "Bearer guess")
	}
	wantRejected(t, b.dial("POST /v1/resolutions HTTP/1.1\r\nHost: x\r\n"+key("guess")+unfinished),
		429)

	free := newFixtureWithConfig(t, httpapi.Config{}, patientServer)
	wantRejected(t, free.dial("POST /v1/resolutions HTTP/1.1\r\nHost: planted.example\r\n"+unfinished),
		421)
	for range 3 { // a response that needs no body does not wait for one either
		text, err := io.ReadAll(free.dial("GET /openapi.json HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n{"))
		if err != nil || !strings.HasPrefix(string(text), "HTTP/1.1 200 ") {
			t.Errorf("answer = %.100s, %v", text, err)
		}
	}
}

// A client that sends its whole body before it reads still gets the response. The connection is
// not reset because of unread data.
func TestRun_Rejection_ReachesSendingClient(t *testing.T) {
	t.Parallel()
	b := crowded(t, httpapi.Config{}, patientServer)
	for i := range 20 {
		size := 200_000 + i%2*700_000 // once below and once above the amount that net/http would read
		conn := b.dial(fmt.Sprintf("POST /v1/backfills?appid=wxA HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", size))
		if _, err := io.WriteString(conn, strings.Repeat("x", size)); err != nil {
			t.Fatal(err)
		}
		wantRejected(t, conn, 401)
		_ = conn.Close()
	}
}

// dialTLS opens a TLS connection to the server.
func (b *fixture) dialTLS() net.Conn {
	b.Helper()
	conn := tls.Client(b.dial(""), &tls.Config{InsecureSkipVerify: true})
	if err := conn.HandshakeContext(b.Context()); err != nil {
		b.Fatal(err)
	}
	return conn
}
