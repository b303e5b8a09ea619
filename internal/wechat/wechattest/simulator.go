// Package wechattest is a WeChat that fits into one process: an [http.Handler] that answers POST /wxa/getopendata, the
// endpoints that give tokens for it, cloud hosting's and third-party platforms' among them, and quota/get, as
// api.weixin.qq.com does. It misbehaves in named ways on request and keeps a ledger of what it was asked. Tests, `cloudidq demo` and `cloudidq sim` are its callers. It knows nothing of the client it
// tests: it imports no other package of the project.
//
// In a test:
//
//	sim, err := wechattest.New(wechattest.Config{Seed: 7, Faults: wechattest.Faults{"busy": 0.1, "missing": 0.05}})
//	srv := httptest.NewServer(sim)
//	tap := sim.CloudID("wx0000000000000001", 3, 0, time.Now()) // what the front end of user 3 got first
//	… exchange tap.CloudID for tap.OpenID at srv.URL, with sim.StaticToken(tap.AppID) or a token from stable_token …
//	want := sim.Truth(tap.AppID, tap.OpenID, tap.CloudID)     // what must end up in the record
//	if v := sim.Stats().Violations; v != (wechattest.Violations{}) { … }
//
// Everything that counts follows from [Config.Seed]: which cloudIDs exist, whose they are, the data behind them and,
// request by request, which fault strikes. A cloudID describes itself, so a second process with the same seed,
// lifetime and faults knows the same truths.
//
// # Faults
//
// [FaultNames] lists them. Those of a request and those of an item are transient: they are drawn anew each time the
// cloudID is seen, and a client that asks again gets through. Those of a cloudID are its property, and final.
//
// # Helper routes
//
// As a process it is driven over HTTP, beside the routes of WeChat:
//
//	GET  /sim/cloudids?appid=A&n=10    plays the front end: NDJSON lines {cloud_id, openid, obtained_at}. Consecutive
//	                                   calls go on where the last one of that app ended; start=N sets the place,
//	                                   users=N the number of users, age=4m takes them as obtained 4 minutes ago.
//	GET  /sim/token?appid=A            {"access_token": …}, the token of StaticToken
//	GET  /sim/truth?appid=A&openid=O&cloud_id=C
//	POST /sim/truth                    NDJSON lines {appid, openid, cloud_id} → one line of truth each, in order
//	GET  /sim/stats                    the counters as JSON; with appid=A those of one app
//	POST /sim/faults                   {"appid":A,"faults":{"quota":1},"for":"5s"}: other faults for an app, see SetFaults
//	GET  /sim/remote_token?appid=A     a central token server, which demands RemoteHeader
//	GET  /sim/cloudbase_token?appid=A  {"cloudbase_access_token": …}, as in the file of cloud hosting
//	POST /sim/push?component=C&event=E&appid=A&url=U
//	                                   pushes ticket, authorized, updateauthorized or unauthorized to a platform
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

// Simulator is one WeChat. Make it with [New]; it is safe for concurrent use and owns no goroutine.
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
	routes    map[string]http.HandlerFunc // all but getopendata

	exchanges sync.Pool // of *exchange
	rids      atomic.Uint64

	frontMu sync.Mutex
	front   map[string]uint64 // appid to the next tap of /sim/cloudids; guarded by frontMu
}

// New checks cfg, fills in its defaults and returns a simulator that is ready to serve. Its error names every fault
// of cfg at once.
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
	if r.URL.Path == "/wxa/getopendata" { // the one that is in a hurry
		s.getOpenData(w, r)
		return
	}
	if serve := s.routes[r.URL.Path]; serve != nil {
		serve(w, r)
		return
	}
	http.NotFound(w, r)
}

// slowRoutes are all but getopendata.
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

// shutdownGrace is how long requests under way may take once Serve is told to stop.
const shutdownGrace = 5 * time.Second

// Serve answers on ln until ctx ends, lets the requests under way finish for up to five seconds and returns nil. It
// returns earlier, with the error, if ln breaks. It closes ln in any case.
func (s *Simulator) Serve(ctx context.Context, ln net.Listener) error {
	srv := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		// No ReadTimeout: it would also end the context of a request that waits out a long latency.
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()

	select {
	case err := <-served:
		return errors.Join(fmt.Errorf("serving the simulator: %w", err), srv.Close())
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
	defer cancel()
	if err := srv.Shutdown(grace); err != nil {
		_ = srv.Close() // the grace is over: cut what is left
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving the simulator: %w", err)
	}
	return nil
}

// wait lets d pass. It reports false if the client went away first.
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
