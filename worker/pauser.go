package worker

import (
	"context"
	"log/slog"
	"time"

	"cloudidq/store"
)

// pauses is the part of [store.Pauses] that the worker uses.
type pauses interface {
	List(ctx context.Context) ([]store.Pause, error)
	Set(ctx context.Context, appID string, code int, reason string, until func(times int) time.Time) (store.Pause, error)
	Probe(ctx context.Context, appID string, lease time.Duration) (bool, error)
	Lift(ctx context.Context, appID string) (bool, error)
}

const (
	// pauseEvery is how often a process looks for the pauses of others; within it, and a request's length, all stop.
	pauseEvery = 300 * time.Millisecond
	// probeLease is how long one process may look for something to probe with, before another one may.
	probeLease = 30 * time.Second
	// pauseForgotten is how long after its end a pause that nobody had a cloudID to probe with is dropped.
	pauseForgotten = time.Hour
)

// pauser keeps the lanes of this process in step with the pauses of all.
type pauser struct {
	pauses  pauses
	batcher *batcher
	news    chan pauseNews
	held    map[string]bool // apps whose lanes it has stopped; used by run only
	metrics *metrics
	shown   map[pauseLabels]float64 // by metrics; used by run only
	log     *slog.Logger
}

func newPauser(p pauses, b *batcher, log *slog.Logger) *pauser {
	ps := &pauser{pauses: p, batcher: b, news: make(chan pauseNews, 1024), held: make(map[string]bool), log: log}
	b.tell = func(n pauseNews) {
		select {
		case ps.news <- n:
		default: // the lane has stopped by itself, and tells again with its next request
		}
	}
	return ps
}

// run works until ctx ends.
func (p *pauser) run(ctx context.Context) {
	tick := time.NewTicker(pauseEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case n := <-p.news:
			p.report(ctx, p.take(ctx, n))
		case <-tick.C:
			p.report(ctx, p.sync(ctx))
		}
	}
}

func (p *pauser) report(ctx context.Context, err error) {
	if err != nil && ctx.Err() == nil {
		p.log.Error("the pauses cannot be kept in step", "error", err)
	}
}

// take makes known what a lane has met.
func (p *pauser) take(ctx context.Context, n pauseNews) error {
	if n.err == nil {
		delete(p.held, n.appID)
		if there, err := p.pauses.Lift(ctx, n.appID); err != nil || !there {
			return err
		}
		p.log.Info("the app goes on: its probe has passed", "appid", n.appID)
		return nil
	}
	var end time.Time // if this one begins it
	pause, err := p.pauses.Set(ctx, n.appID, n.err.Code, n.err.Class.String(), func(times int) time.Time {
		end = pauseEnd(n.err.Class, times, time.Now())
		return end
	})
	if err != nil {
		return err // the lane keeps its own halt, and tells again when that has ended
	}
	if pause.Until.Equal(store.At(end).Time) {
		p.metrics.pauseBegun(pause)
	}
	p.hold(pause)
	p.log.LogAttrs(ctx, slog.LevelWarn, "the app is paused", append([]slog.Attr{
		slog.String("appid", n.appID), slog.Int("errcode", pause.Code), slog.String("class", pause.Reason),
		slog.Time("until", pause.Until.Time), slog.Int("times", pause.Times), slog.String("remedy", remedy(pause.Code)),
	}, ridAttrs(n.err.RID)...)...)
	return nil
}

func (p *pauser) hold(pause store.Pause) {
	p.held[pause.AppID] = true
	p.batcher.setHalt(pause.AppID, &halt{until: pause.Until.Time, err: haltError(classNamed(pause.Reason), pause.Code)}, false)
}

// sync stops the lanes of apps that others have paused, frees those that others, or an operator, have freed, and asks
// for leave to probe where a pause has ended.
func (p *pauser) sync(ctx context.Context) error {
	list, err := p.pauses.List(ctx)
	if err != nil {
		return err
	}
	p.shown = p.metrics.showPauses(list, p.shown)
	now := time.Now()
	listed := make(map[string]bool, len(list))
	var refused error // no more questions then: each would be refused like the first
	for _, pause := range list {
		listed[pause.AppID] = true
		if refused == nil {
			refused = p.follow(ctx, pause, now)
		} else if p.batcher.has(pause.AppID) {
			p.hold(pause)
		}
	}
	for appID := range p.held {
		if !listed[appID] {
			delete(p.held, appID)
			p.batcher.setHalt(appID, nil, false)
		}
	}
	p.batcher.endLocalHalts(now)
	return refused
}

// follow brings one lane into step with a pause.
func (p *pauser) follow(ctx context.Context, pause store.Pause, now time.Time) error {
	if !p.batcher.has(pause.AppID) {
		return nil
	}
	switch {
	case pause.Until.After(now):
		p.hold(pause)
		return nil
	case now.Sub(pause.Until.Time) > pauseForgotten:
		_, err := p.pauses.Lift(ctx, pause.AppID)
		return err
	case pause.ProbeUntil.After(now):
		if !p.held[pause.AppID] { // another process probes, or this one does and its lane knows
			p.hold(pause)
		}
		return nil
	}
	p.hold(pause)
	won, err := p.pauses.Probe(ctx, pause.AppID, probeLease)
	if err != nil || !won {
		return err
	}
	p.batcher.setHalt(pause.AppID,
		&halt{until: pause.Until.Time, err: haltError(classNamed(pause.Reason), pause.Code)}, true)
	p.log.Info("probing a paused app", "appid", pause.AppID, "errcode", pause.Code, "class", pause.Reason)
	return nil
}

// endLocalHalts frees lanes whose halt never reached Redis.
func (b *batcher) endLocalHalts(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for l := range b.local {
		switch {
		case l.halt == nil || !l.halt.local:
			delete(b.local, l) // Redis has it, or it has ended
		case now.After(l.halt.until):
			l.halt, l.probing = nil, false
			delete(b.local, l)
		}
	}
}
