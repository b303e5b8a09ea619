// Package wechattest simulates WeChat in one process. Its [http.Handler] answers like
// api.weixin.qq.com: POST /wxa/getopendata, the token endpoints including those of cloud hosting
// and third-party platforms, and quota/get. On request it misbehaves in named ways. It keeps a
// ledger of the requests. Tests, `cloudidq demo` and `cloudidq sim` use it. The package knows
// nothing of the client it tests: it imports no other package of the project.
//
// In a test:
//
//	faults := wechattest.Faults{"busy": 0.1, "missing": 0.05}
//	sim, err := wechattest.New(wechattest.Config{Seed: 7, Faults: faults})
//	srv := httptest.NewServer(sim)
//	// The first cloudID that the front end of user 3 received:
//	tap := sim.CloudID("wx0000000000000001", 3, 0, time.Now())
//	… exchange tap.CloudID for tap.OpenID at srv.URL, with sim.StaticToken(tap.AppID) or with a
//	token from stable_token …
//	// The correct content of the record:
//	want := sim.Truth(tap.AppID, tap.OpenID, tap.CloudID)
//	if v := sim.Stats().Violations; v != (wechattest.Violations{}) { … }
//
// Everything that matters follows from [Config.Seed]: which cloudIDs exist, which users they
// belong to, their data, and which fault strikes each request. A cloudID describes itself, so a
// second process with the same seed, lifetime and faults knows the same truth.
//
// # Faults
//
// [FaultNames] lists them. Faults of a request and of an item are transient: they are drawn
// again each time the cloudID is seen, so a client that repeats the request gets through. Faults
// of a cloudID are a property of the cloudID and final.
//
// # Helper routes
//
// A simulator that runs as a process has these HTTP routes in addition to WeChat's:
//
//	GET  /sim/cloudids?appid=A&n=10    plays the front end: NDJSON lines
//	                                   {cloud_id, openid, obtained_at}. A call continues after the
//	                                   last call for that app. start=N sets the position, users=N
//	                                   the number of users, and age=4m makes the cloudIDs obtained
//	                                   4 minutes ago.
//	GET  /sim/token?appid=A            {"access_token": …}, the token of StaticToken
//	GET  /sim/truth?appid=A&openid=O&cloud_id=C
//	                                   the truth about a cloudID, see Truth
//	POST /sim/truth                    NDJSON lines {appid, openid, cloud_id}, answered by one
//	                                   line of truth each, in order
//	GET  /sim/stats                    the counters as JSON; with appid=A those of one app
//	POST /sim/faults                   {"appid":A,"faults":{"quota":1},"for":"5s"} sets other
//	                                   faults for an app, see SetFaults
//	GET  /sim/remote_token?appid=A     a central token server, which requires RemoteHeader
//	GET  /sim/cloudbase_token?appid=A  {"cloudbase_access_token": …}, as in the token file of
//	                                   cloud hosting
//	POST /sim/push?component=C&event=E&appid=A&url=U
//	                                   pushes ticket, authorized, updateauthorized or
//	                                   unauthorized to a platform
//	POST /sim/authorize?component=C&appid=A
//	                                   {authorization_code, refresh_token}, without a push
package wechattest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Simulator is one simulated WeChat. Create it with [New]. It is safe for concurrent use and
// owns no goroutine.
type Simulator struct {
	cfg    Config
	codec  codec
	dice   dice
	tokens *tokens
	ledger *ledger // nil with Config.NoLedger
	stats  counters
	apps   apps

	platforms *platforms
	started   time.Time
	routes    map[string]http.HandlerFunc // all routes except getopendata

	exchanges sync.Pool // of *exchange
	rids      atomic.Uint64

	frontMu sync.Mutex
	front   map[string]uint64 // appid to the next tap of /sim/cloudids; guarded by frontMu
}

// New validates cfg, applies its defaults and returns a simulator that is ready to serve. The
// error lists every fault of cfg.
func New(cfg Config) (*Simulator, error) {
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("checking the simulator's config: %w", err)
	}
	cfg = cfg.withDefaults()
	s := &Simulator{
		cfg:   cfg,
		codec: newCodec(cfg.Seed),
		dice:  newDice(cfg.Seed, cfg.Faults),
		front: make(map[string]uint64),
	}
	s.started = cfg.Now()
	s.routes = s.slowRoutes()
	s.platforms = newPlatforms(&s.codec, cfg.Components)
	s.tokens = newTokens(&s.codec, cfg.TokenTTL)
	s.exchanges.New = func() any { return new(exchange) }
	if !cfg.NoLedger {
		s.ledger = newLedger()
	}
	return s, nil
}

// ServeHTTP implements [http.Handler].
func (s *Simulator) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/wxa/getopendata" { // the route whose speed matters
		s.getOpenData(w, r)
		return
	}
	if serve := s.routes[r.URL.Path]; serve != nil {
		serve(w, r)
		return
	}
	http.NotFound(w, r)
}

// slowRoutes returns all routes except getopendata.
func (s *Simulator) slowRoutes() map[string]http.HandlerFunc {
	return map[string]http.HandlerFunc{
		"/cgi-bin/stable_token":                   s.stableToken,
		"/cgi-bin/token":                          s.legacyToken,
		"/cgi-bin/openapi/quota/get":              s.quotaGet,
		"/cgi-bin/component/api_component_token":  s.componentToken,
		"/cgi-bin/component/api_authorizer_token": s.authorizerToken,
		"/cgi-bin/component/api_query_auth":       s.queryAuth,

		"/sim/cloudids":        s.serveCloudIDs,
		"/sim/token":           s.serveToken,
		"/sim/remote_token":    s.remoteToken,
		"/sim/cloudbase_token": s.serveCloudbaseToken,
		"/sim/truth":           s.serveTruth,
		"/sim/stats":           s.serveStats,
		"/sim/faults":          s.setFaults,
		"/sim/push":            s.servePush,
		"/sim/authorize":       s.serveAuthorize,
	}
}

// shutdownGrace is how long requests in flight may take after the context of Serve has ended.
const shutdownGrace = 5 * time.Second

// Serve answers requests on ln until ctx ends. It then waits up to five seconds for the requests
// in flight and returns nil. If ln fails, it returns the error at once. It closes ln in any
// case.
func (s *Simulator) Serve(ctx context.Context, ln net.Listener) error {
	srv := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		// There is no ReadTimeout: it would also cancel the context of a request during a long
		// latency.
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()

	select {
	case err := <-served:
		return errors.Join(fmt.Errorf("serving the simulator: %w", err), srv.Close())
	case <-ctx.Done():
	}
	// Let the requests in flight finish.
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
	defer cancel()
	if err := srv.Shutdown(grace); err != nil {
		_ = srv.Close() // the grace period is over: close the remaining connections
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving the simulator: %w", err)
	}
	return nil
}

// wait waits for d. It returns false if the client disconnects first.
func wait(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
