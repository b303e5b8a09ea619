// Package httpapi is the HTTP server of cloudidq: the API, the status page, and the monitoring
// pages of the queues. docs/openapi.yaml describes the API. Each group of routes has a file of
// its own.
//
// [New] builds the chain of handlers that a request passes. The chain limits what anonymous
// connections can hold up (respondEarly), forbids caching (private), records metrics and spans
// (observer) and recovers from panics. It then checks the Host header if there are no keys
// (loopbackHosts), checks the origin (sameOrigin), authenticates the caller (authenticator), and
// limits the size of the body (notTooLarge). Each route checks the caller's scope and app itself.
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

	"cloudidq/internal/backfill"
	"cloudidq/internal/status"
	"cloudidq/store"
)

// Config holds the settings of a [Server].
type Config struct {
	Listen         string // host:port; port 0 picks a free port, see [Server.Addr]
	MaxConnections int    // 0 = 4096; anonymous ones from one address get a quarter, see [connLimiter]
	Keys           []Key  // keys that are valid; none = no key needed, for a loopback address
	// TrustedProxies holds the address ranges of the proxies in front of the server. Only these
	// proxies may report a client's address (X-Forwarded-For or Forwarded).
	TrustedProxies []netip.Prefix
	// TLS returns the server's certificate. The server calls it again from time to time, from
	// several goroutines. Its error must not contain secrets. A nil TLS means plain HTTP.
	TLS func() (TLS, error)
}

// Parts holds the dependencies of a [Server]. The caller closes them after Run has returned.
type Parts struct {
	Producer   producer
	Results    store.Results
	Deliveries deliveryStore
	Backfills  *backfill.Store
	Webhooks   Webhooks
	Load       Load
	Requests   claims
	// Serves reports whether the configuration has an app.
	Serves func(appID string) bool
	// MayName returns nil if the results of an app may go to the named endpoint, and otherwise
	// an error that says why not. limited means that the caller's key is valid only for some
	// apps. The error text is shown after the field's name and must contain neither appID nor
	// webhook.
	MayName func(appID, webhook string, limited bool) error

	Platforms map[string]Platform // third-party platforms by the component's appid

	Status     *status.Collector // for /v1/status and the page at /; nil = neither is served
	Monitoring Monitoring        // nil = /monitoring/ is not served

	Log     *slog.Logger
	Metrics *Metrics             // nil = no metrics
	Tracers trace.TracerProvider // nil = no traces
}

// Server serves the API. Create one with [New] and call Run once.
type Server struct {
	cfg   Config
	log   *slog.Logger
	inner http.Handler
	certs *certificates // nil = plain HTTP
	addr  atomic.Pointer[string]
	ready chan struct{}

	stop   context.CancelFunc // stops event streams, downloads and uploads
	timing *timing
	failed *keyLimiter // limits wrong keys
}

const (
	defaultConnections = 4096
	drainTimeout       = 10 * time.Second // for requests in progress when the server stops

	// A client that is slower than this must not keep a connection from other clients.
	headerTimeout = 5 * time.Second
	readTimeout   = 30 * time.Second
	idleTimeout   = time.Minute
	maxHeader     = 16 << 10
)

// New returns a server that is not running yet.
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
	// Register the routes.
	(&resolutions{
		producer: parts.Producer, results: parts.Results, names: names, load: parts.Load,
		idempotency: &idempotency{parts.Requests}, accepted: parts.Metrics.Accepted,
	}).register(api)
	(&subjects{parts.Results, parts.Serves, func(key, appID string, erased int) {
		parts.Log.Info("user erased", "appid", appID, "records", erased, "key", key) // audit log
	}}).register(api)
	(&deliveries{parts.Deliveries, parts.Webhooks, names}).register(api)
	stopping, stop := context.WithCancel(context.Background())
	bulk := newBackfills(stopping, parts, names)
	bulk.register(mux, api)
	describe(mux, api)
	mux.Handle("POST /v1/wechat/components/{appid}/events",
		&wechatEvents{platforms: parts.Platforms, log: parts.Log})
	s := &Server{cfg: cfg, log: parts.Log, certs: certs, ready: make(chan struct{}), stop: stop,
		timing: bulk.timing, failed: newKeyLimiter()}
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
	// Wrap the routes in the middleware. The outermost handler runs first.
	guarded := sameOrigin(auth.wrap(notTooLarge(problemsOf(mux))))
	if len(cfg.Keys) == 0 {
		guarded = loopbackHosts(guarded)
	}
	s.inner = respondEarly(cfg.TrustedProxies,
		private(observe.wrap(recoverPanics(parts.Log, guarded))))
	return s, nil
}

// ServeHTTP implements [http.Handler], for tests and for callers with an [http.Server] of their
// own.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.inner.ServeHTTP(w, r) }

// Ready returns a channel that is closed once Run listens.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Addr returns the address that Run listens on. It is empty before Ready is closed.
func (s *Server) Addr() string {
	if addr := s.addr.Load(); addr != nil {
		return *addr
	}
	return ""
}

// Run serves until ctx is done. It then stops event streams and uploads at once, and lets other
// requests finish for up to 10 seconds. It returns nil after a clean stop. All of its goroutines
// have finished when it returns.
func (s *Server) Run(ctx context.Context) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.cfg.Listen)
	if err != nil {
		return fmt.Errorf("listening for the API: %w", err)
	}
	addr := listener.Addr().String()
	s.addr.Store(&addr)
	server := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: s.timing.header,
		ReadTimeout:       s.timing.read,
		WriteTimeout:      s.timing.response,
		IdleTimeout:       s.timing.idle,
		MaxHeaderBytes:    maxHeader,
		ConnContext:       withConn,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug), // connection errors, e.g. of scanners
	}
	s.log.Info("the API is up", "addr", addr, "tls", s.certs != nil)
	close(s.ready)

	served := make(chan error, 1)
	go func() { served <- s.serve(server, newConnLimiter(listener, s.cfg, s.timing)) }()
	select {
	case err := <-served: // the listener has failed: stop the requests in progress too
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

// serve accepts connections. It supports only HTTP/1.1, also with TLS. HTTP/1.1 handles one
// request per connection at a time, so the limit on connections also limits requests.
func (s *Server) serve(server *http.Server, listener net.Listener) error {
	server.Protocols = new(http.Protocols)
	server.Protocols.SetHTTP1(true)
	if s.certs == nil {
		return server.Serve(listener)
	}
	server.TLSConfig = s.certs.serverConfig()
	return server.ServeTLS(listener, "", "")
}
