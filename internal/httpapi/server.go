// Package httpapi is the HTTP server of cloudidq: what others call over the network. Its routes are those of the
// contract; each has a file.
package httpapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/trace"

	"cloudidq/internal/status"
	"cloudidq/store"
)

// Config are the settings of a Server.
type Config struct {
	Listen         string // host:port; port 0 takes a free one, see [Server.Addr]
	MaxConnections int    // at once; default 4096. A quarter of them may be without a key and from one address
	Keys           []Key  // who may come in; none = everybody, for a loopback address
	// TrustedProxies are the address ranges of the proxies in front of the server. Only of them is it believed whom they
	// speak for (X-Forwarded-For or Forwarded).
	TrustedProxies []netip.Prefix
	// TLS gives what the server proves itself with, and is asked again now and then, by several goroutines; nil = plain
	// HTTP. Its error must hold nothing secret.
	TLS func() (TLS, error)
}

// Parts are what a Server works with. They stay the caller's to close, after Run.
type Parts struct {
	Producer   producer
	Results    store.Results
	Deliveries deliveryRows
	Backfills  *store.Backfills
	Webhooks   Webhooks
	Load       Load
	Requests   claims
	// Serves says whether the configuration has an app.
	Serves func(appID string) bool
	// MayName says why the results of an app may not go to the endpoint of a name; nil = they may. limited stands for a
	// caller who reaches some apps alone. The text of its error goes behind the field's name, and holds nothing of both.
	MayName func(appID, webhook string, limited bool) error

	Platforms map[string]Platform // third-party platforms, by the component's appid

	Status     *status.Collector // for /v1/status and the page at /; nil = there is neither
	Monitoring Monitoring        // nil = there is no /monitoring/

	Log     *slog.Logger
	Metrics *Metrics             // nil = nothing is counted
	Tracers trace.TracerProvider // nil = nothing is traced
}

// Server serves the API. Make one with New, run it once.
type Server struct {
	cfg   Config
	log   *slog.Logger
	inner http.Handler
	certs *certificates // nil = plain HTTP
	addr  atomic.Pointer[string]
	ready chan struct{}

	stop   context.CancelFunc // ends the requests that would go on for long
	pace   *pace
	failed *limiter // of wrong keys
}

const (
	defaultConnections = 4096
	drainTimeout       = 10 * time.Second // for requests under way when the server stops

	// A client that is slower than this keeps a connection from others.
	headerTimeout = 5 * time.Second
	readTimeout   = 30 * time.Second
	idleTimeout   = time.Minute
	maxHeader     = 16 << 10
)

// New returns a server that has not started.
func New(cfg Config, parts Parts) (*Server, error) {
	if _, _, err := net.SplitHostPort(cfg.Listen); err != nil {
		return nil, errors.New("httpapi: Listen must be host:port")
	}
	if cfg.MaxConnections < 0 {
		return nil, fmt.Errorf("httpapi: MaxConnections is %d, want 0 or more", cfg.MaxConnections)
	}
	if cfg.MaxConnections == 0 {
		cfg.MaxConnections = defaultConnections
	}
	certs, err := serverTLS(cfg, parts.Log)
	if err != nil {
		return nil, err
	}
	names := naming{parts.Serves, parts.MayName}
	mux := http.NewServeMux()
	api := newHuma(mux)
	(&resolutions{
		producer: parts.Producer, results: parts.Results, names: names, load: parts.Load,
		once: &once{parts.Requests}, accepted: parts.Metrics.Accepted,
	}).register(api)
	(&subjects{parts.Results, parts.Serves, func(key, appID string, erased int) {
		parts.Log.Info("a person was erased", "appid", appID, "records", erased, "key", key) // the audit line
	}}).register(api)
	(&deliveries{parts.Deliveries, parts.Webhooks, names}).register(api)
	stopping, stop := context.WithCancel(context.Background())
	bulk := newBackfills(stopping, parts, names)
	bulk.register(mux, api)
	describe(mux, api)
	mux.Handle("POST /v1/wechat/components/{appid}/events", &events{platforms: parts.Platforms, log: parts.Log})
	s := &Server{cfg: cfg, log: parts.Log, certs: certs, ready: make(chan struct{}), stop: stop, pace: bulk.pace, failed: newLimiter()}
	if parts.Status != nil {
		(&overview{parts.Status, status.NewPage(), parts.Monitoring != nil}).register(mux, api)
	}
	if parts.Monitoring != nil {
		mux.Handle("/monitoring/", s.serveMonitoring(parts.Monitoring))
	}
	auth := &authenticator{keys: cfg.Keys, failed: s.failed, proxies: cfg.TrustedProxies, log: parts.Log}
	observe := &observer{mux: mux, metrics: parts.Metrics, log: parts.Log}
	if parts.Tracers != nil {
		observe.tracer = parts.Tracers.Tracer("cloudidq/internal/httpapi")
	}
	guarded := sameOrigin(auth.wrap(notTooLarge(problemsOf(mux))))
	if len(cfg.Keys) == 0 {
		guarded = loopbackHosts(guarded)
	}
	s.inner = atOnce(cfg.TrustedProxies, private(observe.wrap(recoverPanics(parts.Log, guarded))))
	return s, nil
}

// ServeHTTP implements [http.Handler], for tests and for whoever brings a server of his own.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.inner.ServeHTTP(w, r) }

// Ready is closed once Run listens.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Addr is where Run listens; empty before Ready.
func (s *Server) Addr() string {
	if addr := s.addr.Load(); addr != nil {
		return *addr
	}
	return ""
}

// Run serves until ctx ends, lets the requests under way finish for 10 seconds, and returns when all of its goroutines
// have ended: with nil after an orderly stop.
func (s *Server) Run(ctx context.Context) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.cfg.Listen)
	if err != nil {
		return fmt.Errorf("listening for the API: %w", err)
	}
	addr := listener.Addr().String()
	s.addr.Store(&addr)
	server := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: s.pace.header,
		ReadTimeout:       s.pace.read,
		WriteTimeout:      s.pace.answer,
		IdleTimeout:       s.pace.idle,
		MaxHeaderBytes:    maxHeader,
		ConnContext:       withVisitor,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug), // of connections: scanners, broken clients
	}
	s.log.Info("the API is up", "addr", addr, "tls", s.certs != nil)
	close(s.ready)

	served := make(chan error, 1)
	go func() { served <- s.serve(server, newDoor(listener, s.cfg, s.pace)) }()
	select {
	case err := <-served: // the listener has failed; what is under way ends, too
		s.stop()
		return errors.Join(fmt.Errorf("serving the API: %w", err), server.Close())
	case <-ctx.Done():
	}
	s.stop()
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer cancel()
	err = server.Shutdown(drain)
	if err != nil {
		err = errors.Join(fmt.Errorf("stopping the API: %w", err), server.Close())
	}
	<-served //nolint:errcheck // http.ErrServerClosed, after Shutdown
	s.log.Info("the API has stopped")
	return err
}

// serve speaks HTTP/1.1 alone, with TLS as well: one request per connection, so that the limit of these is one of both.
func (s *Server) serve(server *http.Server, listener net.Listener) error {
	server.Protocols = new(http.Protocols)
	server.Protocols.SetHTTP1(true)
	if s.certs == nil {
		return server.Serve(listener)
	}
	server.TLSConfig = s.certs.serverConfig()
	return server.ServeTLS(listener, "", "")
}
