// Package ops serves health checks and metrics for operators. /healthz reports that the process
// runs, /readyz whether it can work, and /metrics its metrics. There are no keys, and the
// responses contain no user data. The listen address decides who can reach them.
//
//	server, err := ops.New(ops.Config{
//		Listen: "127.0.0.1:9090", Parts: []string{"worker"},
//	}, registry, log)
//	go server.Run(ctx)
//	server.Up("worker", ops.Check{Name: "redis", Ask: ping}) // once the worker runs
//	server.Stopping()                                        // first step of a shutdown
//
// cmd starts the server first and stops it last, so that a shutdown can be observed from outside.
package ops

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/net/netutil"
)

// Config holds the settings of a [Server].
type Config struct {
	Listen string // host:port; port 0 picks a free port, see [Server.Addr]
	// Parts names the parts of the process that must be up before /readyz reports ready.
	Parts []string
	// Hosts reports whether a Host header is accepted; nil = any. On a loopback address, it
	// keeps out web pages in a local browser whose own name resolves to that address (DNS
	// rebinding).
	Hosts func(host string) bool
}

// Server serves health checks and metrics. Create one with [New] and call Run once.
type Server struct {
	listen string
	hosts  func(host string) bool // nil = any
	state  *readiness
	log    *slog.Logger
	mux    *http.ServeMux
	addr   atomic.Pointer[string]
	ready  chan struct{}
}

const (
	maxConnections = 64 // enough for scrapers and probes
	maxScrapes     = 3  // concurrent scrapes; further ones get 503
	scrapeTimeout  = 10 * time.Second
	requestTimeout = 5 * time.Second // to read a request
	answerTimeout  = 30 * time.Second
	drainTimeout   = 2 * time.Second
)

// New returns a server that is not running yet. /metrics shows what metrics gathers.
func New(cfg Config, metrics prometheus.Gatherer, log *slog.Logger) (*Server, error) {
	if _, _, err := net.SplitHostPort(cfg.Listen); err != nil {
		return nil, errors.New("ops: Listen must be host:port")
	}
	s := &Server{
		listen: cfg.Listen, hosts: cfg.Hosts, state: newReadiness(cfg.Parts), log: log,
		mux: http.NewServeMux(), ready: make(chan struct{}),
	}
	s.mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, "ok\n")
	})
	s.mux.HandleFunc("GET /readyz", s.state.serve)
	s.mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{
		ErrorLog:            scrapeLog{log},
		ErrorHandling:       promhttp.ContinueOnError, // a metric that fails does not hide the others
		MaxRequestsInFlight: maxScrapes,
		Timeout:             scrapeTimeout,
		EnableOpenMetrics:   true,
	}))
	return s, nil
}

// Up marks a part of the process as up. From then on, /readyz also runs the checks that the part
// needs.
func (s *Server) Up(part string, checks ...Check) { s.state.up(part, checks) }

// Stopping marks the process as about to stop. From then on, /readyz responds with 503. Stopping
// may be called more than once.
func (s *Server) Stopping() { s.state.stopping.Store(true) }

// ServeHTTP implements [http.Handler].
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.hosts != nil && !s.hosts(r.Host) {
		answer(w, http.StatusMisdirectedRequest, "the Host header is not accepted; "+
			"on a loopback address, ops.listen accepts only localhost, 127.0.0.1 and [::1]\n")
		return
	}
	s.mux.ServeHTTP(w, r)
}

// Ready returns a channel that is closed once Run listens.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Addr returns the address that Run listens on. It is empty before Ready is closed.
func (s *Server) Addr() string {
	if addr := s.addr.Load(); addr != nil {
		return *addr
	}
	return ""
}

// Run serves until ctx is done. It returns nil after a clean stop. All of its goroutines have
// finished when it returns.
func (s *Server) Run(ctx context.Context) error {
	// Listen before anything else, so that a port in use is reported at the start.
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.listen)
	if err != nil {
		return fmt.Errorf("listening for health and metrics (ops.listen): %w", err)
	}
	addr := listener.Addr().String()
	s.addr.Store(&addr)
	server := &http.Server{
		Handler: s, ReadTimeout: requestTimeout, WriteTimeout: answerTimeout,
		IdleTimeout: time.Minute, MaxHeaderBytes: 8 << 10,
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	s.log.Info("serving health and metrics", "addr", addr)
	close(s.ready)

	served := make(chan error, 1)
	go func() { served <- server.Serve(netutil.LimitListener(listener, maxConnections)) }()
	select {
	case err := <-served: // the listener has failed
		return errors.Join(fmt.Errorf("serving health and metrics: %w", err), server.Close())
	case <-ctx.Done():
	}
	// Let requests in flight finish, for a limited time.
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer cancel()
	if err := server.Shutdown(drain); err != nil {
		_ = server.Close() // a hanging scrape must not block the shutdown
	}
	<-served //nolint:errcheck // http.ErrServerClosed, after Shutdown
	return nil
}

// answer responds with a plain text.
func answer(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text)) // the client may have disconnected
}

// scrapeLog logs the errors of promhttp.
type scrapeLog struct{ log *slog.Logger }

// Println implements promhttp's Logger.
func (l scrapeLog) Println(v ...any) {
	l.log.Warn("scrape is incomplete", "error", fmt.Sprint(v...))
}
