package httpapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"cloudidq/internal/httpapi"
	"cloudidq/internal/secret"
	"cloudidq/internal/wechat/push"
)

// go-redis checks once a second whether an unreachable server is back. It notices up to a second
// late that its client is closed, so goleak ignores that goroutine.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}

// platform is a fake that behaves as the test says and records its calls.
type platform struct {
	event push.Event
	open  error
	apply error
	block chan struct{} // if set, an event sends to it, then receives from it
	panic bool

	mu    sync.Mutex
	calls []string
}

func (p *platform) Open(url.Values, []byte, time.Time) (push.Event, error) {
	if p.panic {
		panic("planted")
	}
	return p.event, p.open
}

func (p *platform) note(format string, args ...any) error {
	if p.block != nil {
		p.block <- struct{}{}
		<-p.block
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls = append(p.calls, fmt.Sprintf(format, args...))
	return p.apply
}

func (p *platform) StoreTicket(_ context.Context, ticket secret.Text, created time.Time) error {
	return p.note("ticket %s %d", ticket.Reveal(), created.Unix())
}

func (p *platform) Authorize(_ context.Context, appID string, code secret.Text, created time.Time) error {
	return p.note("authorize %s %s %d", appID, code.Reveal(), created.Unix())
}

func (p *platform) Unauthorize(_ context.Context, appID string, created time.Time) error {
	return p.note("unauthorize %s %d", appID, created.Unix())
}

// api is a server on its own port, with its log.
type api struct {
	url  string
	log  *lockedBuffer
	stop func() error
}

func serve(t *testing.T, cfg httpapi.Config, p httpapi.Platform) *api {
	t.Helper()
	log := &lockedBuffer{}
	cfg.Listen = "127.0.0.1:0"
	s, err := httpapi.New(cfg, httpapi.Parts{
		Platforms: map[string]httpapi.Platform{"wxc": p}, Log: slog.New(slog.NewTextHandler(log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	<-s.Ready()
	var once sync.Once
	stop := func() (err error) {
		once.Do(func() { cancel(); err = <-done })
		return err
	}
	t.Cleanup(func() { _ = stop(); http.DefaultClient.CloseIdleConnections() })
	return &api{url: "http://" + s.Addr(), log: log, stop: stop}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

type reply struct {
	status int
	header http.Header
	body   string
}

// do sends a request. header holds names and values in turn.
func do(t *testing.T, method, url, body string, header ...string) reply {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{resp.StatusCode, resp.Header, string(text)}
}

// wantProblem checks for an RFC 9457 problem that repeats nothing of the request.
func wantProblem(t *testing.T, got reply, status int) {
	t.Helper()
	var p struct {
		Type, Title, Detail string
		Status              int
	}
	err := json.Unmarshal([]byte(got.body), &p)
	if got.status != status || err != nil || p.Status != status || p.Type == "" || p.Title == "" ||
		got.header.Get("Content-Type") != "application/problem+json" || strings.Contains(got.body, "planted") {
		t.Errorf("answer = %d %s %s, want a problem of status %d", got.status, got.header.Get("Content-Type"), got.body, status)
	}
}

func TestRoutes_UnknownOnesAreProblems(t *testing.T) {
	a := serve(t, httpapi.Config{}, &platform{})
	wantProblem(t, do(t, "GET", a.url+"/planted", ""), 404)
	wantProblem(t, do(t, "POST", a.url+"/v1/wechat/components/wxplanted/events", ""), 404)
	got := do(t, "GET", a.url+"/v1/wechat/components/wxc/events", "")
	wantProblem(t, got, 405)
	if got.header.Get("Allow") != "POST" {
		t.Errorf("Allow = %q, want POST", got.header.Get("Allow"))
	}
}

func TestPanic_IsAProblemWithoutItsValue(t *testing.T) {
	a := serve(t, httpapi.Config{}, &platform{panic: true})
	wantProblem(t, do(t, "POST", a.url+"/v1/wechat/components/wxc/events", "planted"), 500)
	if said := a.log.String(); !strings.Contains(said, "panicked") || strings.Contains(said, "planted") {
		t.Errorf("log = %s, want the panic without its value", said)
	}
}

func TestRun_FinishesInFlightRequests(t *testing.T) {
	p := &platform{event: push.Event{Type: push.Ticket}, block: make(chan struct{})}
	a := serve(t, httpapi.Config{}, p)
	answered := make(chan reply, 1)
	go func() { answered <- do(t, "POST", a.url+"/v1/wechat/components/wxc/events", "") }()
	<-p.block
	stopped := make(chan error, 1)
	go func() { stopped <- a.stop() }()
	close(p.block)
	if err := <-stopped; err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
	if got := <-answered; got.status != 200 || got.body != "success" {
		t.Errorf("the request in flight got %d %s, want success", got.status, got.body)
	}
}

func TestRun_LimitsConnections(t *testing.T) {
	a := serve(t, httpapi.Config{MaxConnections: 1}, &platform{})
	first, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimPrefix(a.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	// The first connection has certainly been accepted once it gets a response.
	if _, err := io.WriteString(first, "GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := first.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", a.url, nil)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	if resp, err := transport.RoundTrip(req); !errors.Is(err, context.DeadlineExceeded) {
		_ = resp.Body.Close()
		t.Errorf("a second connection was served above the limit of one: %v", err)
	}
	_ = first.Close()
	if got := do(t, "GET", a.url, ""); got.status != 404 {
		t.Errorf("after the first was closed: %d, want 404", got.status)
	}
}

func TestRun_EndlessHeader_IsRejected(t *testing.T) {
	a := serve(t, httpapi.Config{}, &platform{})
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimPrefix(a.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := io.WriteString(conn, "POST /x HTTP/1.1\r\nX-Long: "+strings.Repeat("a", 64<<10)); err != nil {
		t.Fatal(err)
	}
	answer, _ := io.ReadAll(conn) // the connection closes, perhaps with a reset
	if !bytes.HasPrefix(answer, []byte("HTTP/1.1 431 ")) && len(answer) > 0 {
		t.Errorf("answer = %.60s, want 431", answer)
	}
}

func TestNew_Faults(t *testing.T) {
	for _, cfg := range []httpapi.Config{{}, {Listen: "localhost"}, {Listen: ":0", MaxConnections: -1}} {
		if _, err := httpapi.New(cfg, httpapi.Parts{}); err == nil {
			t.Errorf("New(%+v) succeeded", cfg)
		}
	}
	s, err := httpapi.New(httpapi.Config{Listen: "192.0.2.1:1"}, httpapi.Parts{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(t.Context()); err == nil {
		t.Error("Run on an address of another machine succeeded")
	}
}
