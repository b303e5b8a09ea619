package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"cloudidq/config"
	"cloudidq/internal/app"
	"cloudidq/internal/open"
	"cloudidq/internal/wechat/wechattest"
)

// environment is what a demo runs in: the WeChat simulator and the process of `cloudidq serve`.
type environment struct {
	cfg      Config
	sim      *wechattest.Simulator
	listener net.Listener // of the simulator
	serve    *config.Config

	// Set while play runs.
	rdb     redis.UniversalClient
	records *open.Records
}

// newEnvironment creates the simulator and the configuration of the process. hook is the
// endpoint that receives the results; nil = none. The caller closes the environment.
func newEnvironment(ctx context.Context, cfg Config, hook *config.Webhook) (*environment, error) {
	sim, err := wechattest.New(wechattest.Config{Seed: cfg.Seed, Users: cfg.Users, Latency: cfg.Latency, Faults: cfg.Faults})
	if err != nil {
		return nil, err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listening for the simulator: %w", err)
	}
	e := &environment{cfg: cfg, sim: sim, listener: listener}
	e.serve = e.configuration(hook)
	return e, nil
}

// configuration returns the configuration of `cloudidq serve` for a demo: an embedded Redis, the
// simulator in WeChat's place, and free ports.
func (e *environment) configuration(hook *config.Webhook) *config.Config {
	c := config.Default()
	c.Redis.URL = "embedded"
	c.Store.Encryption = config.EncryptionOff
	c.Store.ResultTTL = time.Hour
	c.WeChat.BaseURL = config.URL("http://" + e.listener.Addr().String())
	c.API.Listen, c.Ops.Listen = "127.0.0.1:0", "127.0.0.1:0"
	c.Log.Level = "error"
	calls := config.Calls{GroupBy: config.GroupByOpenID, BatchMax: 20, BatchLinger: 5 * time.Millisecond, MaxInFlight: maxInFlight}
	if hook != nil {
		c.Webhooks, calls.Webhook = []config.Webhook{*hook}, hook.Name
	}
	for _, id := range e.cfg.apps() {
		c.Apps = append(c.Apps, config.App{
			AppID: id, Token: config.Token{Mode: config.ModeStable, Secret: config.NewSecret("demo")}, Calls: calls,
		})
	}
	return c
}

// run runs play while the simulator and the process are up, and returns after they have stopped.
func (e *environment) run(ctx context.Context, play func(context.Context, app.Addresses) error) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	// The process needs the simulator until it has stopped.
	simulating, stopSimulator := context.WithCancel(context.WithoutCancel(ctx))
	defer stopSimulator()
	var simulator errgroup.Group
	simulator.Go(func() error { return e.sim.Serve(simulating, e.listener) })

	ready := make(chan app.Addresses, 1)
	g, serving := errgroup.WithContext(ctx)
	g.Go(func() error {
		return app.RunServe(serving, e.serve, app.Options{
			Log: io.Discard, LookupEnv: func(string) (string, bool) { return "", false }, Version: "demo",
			Ready: func(at app.Addresses) { ready <- at },
		})
	})
	g.Go(func() error {
		defer stop()
		select {
		case at := <-ready:
			return e.playWith(serving, at, play)
		case <-serving.Done():
			return nil
		}
	})
	err := g.Wait()
	stopSimulator()
	return errors.Join(err, simulator.Wait())
}

// playWith opens what a producer and a reader of records have, and runs play.
func (e *environment) playWith(ctx context.Context, at app.Addresses, play func(context.Context, app.Addresses) error) (err error) {
	if e.rdb, err = open.Redis(ctx, e.serve, open.RepeatCommands); err != nil {
		return err
	}
	defer func() { _ = e.rdb.Close() }()
	if e.records, err = open.Store(ctx, e.serve, e.rdb); err != nil {
		return err
	}
	defer e.records.Close()
	return play(ctx, at)
}

// close releases what run may not have used.
func (e *environment) close() {
	_ = e.listener.Close() // an error if the simulator has already closed it
}
