// Package ops is the listener of a process for those who operate it: /healthz says that the process is there, /readyz
// whether it can work, /metrics how it does. It has no keys and shows nothing of anybody; who may reach it is decided by
// where it listens.
//
//	server, err := ops.New(ops.Config{Listen: "127.0.0.1:9090", Parts: []string{"worker"}}, registry, log)
//	go server.Run(ctx)
//	server.Up("worker", ops.Check{Name: "redis", Ask: ping}) // once that part works
//	server.Stopping()                                        // first of all when it stops
//
// cmd runs it around everything else of the process, so that a stop can be watched from outside.
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

// Config are the settings of a Server.
type Config struct {
	Listen string // host:port; port 0 takes a free one, see [Server.Addr]
	// Parts of the process that must be up before it is ready, by name.
	Parts []string
	// Hosts says which Host headers are answered; nil = any. On a loopback address it keeps out the pages of a browser of
	// this machine whose own name resolves to it (DNS rebinding).
	Hosts func(host string) bool
}

// Server serves what operators ask. Make one with New, run it once.
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
	maxConnections = 64 // scrapers and probes, not the public
	maxScrapes     = 3  // at once; more are told to come again
	scrapeTimeout  = 10 * time.Second
	requestTimeout = 5 * time.Second // until a request has arrived
	answerTimeout  = 30 * time.Second
	drainTimeout   = 2 * time.Second
)

// New returns a server that has not started. It shows what metrics gathers.
func New(cfg Config, metrics prometheus.Gatherer, log *slog.Logger) (*Server, error) {
	if _, _, err := net.SplitHostPort(cfg.Listen); err != nil {
		return nil, errors.New("ops: Listen must be host:port")
	}
	s := &Server{
		listen: cfg.Listen, hosts: cfg.Hosts, state: newReadiness(cfg.Parts), log: log,
		mux: http.NewServeMux(), ready: make(chan struct{}),
	}
	s.mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, "ok\n") })
	s.mux.HandleFunc("GET /readyz", s.state.serve)
	s.mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{
		ErrorLog:            scrapeLog{log},
		ErrorHandling:       promhttp.ContinueOnError, // a metric that cannot be had takes no other with it
		MaxRequestsInFlight: maxScrapes,
		Timeout:             scrapeTimeout,
		EnableOpenMetrics:   true,
	}))
	return s, nil
}

// Up says that a part of the process works, and what must go on to work for it to do so.
func (s *Server) Up(part string, checks ...Check) { s.state.up(part, checks) }

// Stopping says that the process is about to stop: /readyz answers 503 from here on. It may be called more than once.
func (s *Server) Stopping() { s.state.stopping.Store(true) }

// ServeHTTP implements [http.Handler].
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.hosts != nil && !s.hosts(r.Host) {
		answer(w, http.StatusMisdirectedRequest, "the Host header names another machine; on a loopback address ops.listen answers localhost, 127.0.0.1 and [::1] only\n")
		return
	}
	s.mux.ServeHTTP(w, r)
}

// Ready is closed once Run listens.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Addr is where Run listens; empty before Ready.
func (s *Server) Addr() string {
	if addr := s.addr.Load(); addr != nil {
		return *addr
	}
	return ""
}

// Run serves until ctx ends and returns when all of its goroutines have ended: with nil after an orderly stop.
func (s *Server) Run(ctx context.Context) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.listen)
	if err != nil {
		return fmt.Errorf("listening for health and metrics (ops.listen): %w", err)
	}
	addr := listener.Addr().String()
	s.addr.Store(&addr)
	server := &http.Server{
		Handler: s, ReadTimeout: requestTimeout, WriteTimeout: answerTimeout, IdleTimeout: time.Minute, MaxHeaderBytes: 8 << 10,
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	s.log.Info("health and metrics are served", "addr", addr)
	close(s.ready)

	served := make(chan error, 1)
	go func() { served <- server.Serve(netutil.LimitListener(listener, maxConnections)) }()
	select {
	case err := <-served: // the listener has failed
		return errors.Join(fmt.Errorf("serving health and metrics: %w", err), server.Close())
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer cancel()
	if err := server.Shutdown(drain); err != nil {
		_ = server.Close() // a scrape that hangs does not keep the process
	}
	<-served //nolint:errcheck // http.ErrServerClosed, after Shutdown
	return nil
}

func answer(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text)) // a prober that is gone needs no answer
}

// scrapeLog is where promhttp tells of metrics that could not be had.
type scrapeLog struct{ log *slog.Logger }

// Println implements promhttp's Logger.
func (l scrapeLog) Println(v ...any) {
	l.log.Warn("a scrape is not complete", "error", fmt.Sprint(v...))
}
