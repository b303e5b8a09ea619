package batch

import (
	"context"
	"log/slog"
	"time"

	"cloudidq/internal/coord"
	"cloudidq/internal/wechat"
	"cloudidq/store"
)

// Pauses is the part of [coord.Pauses] that the worker uses.
type Pauses interface {
	List(ctx context.Context) ([]coord.Pause, error)
	Set(
		ctx context.Context, appID string, code int, reason string, until func(times int) time.Time,
	) (coord.Pause, error)
	Probe(ctx context.Context, appID string, lease time.Duration) (bool, error)
	Lift(ctx context.Context, appID string) (bool, error)
}

const (
	// pauseEvery is how often a process reads the pauses that others have set. After a pause
	// was set, all processes stop within pauseEvery plus the length of one request.
	pauseEvery = 300 * time.Millisecond
	// probeLease is how long one process may wait for a cloudID to probe with. After that
	// another process may probe.
	probeLease = 30 * time.Second
	// pauseForgotten is how long after its end a pause is dropped without a probe, because no
	// process had a cloudID to probe with.
	pauseForgotten = time.Hour
)

// Pauser keeps the app queues of this process in step with the pauses in Redis, which all
// processes share.
type Pauser struct {
	pauses  Pauses
	batcher *Batcher
	news    chan pauseReport
	blocked map[string]bool // apps that it has blocked; used by run only
	metrics *Metrics
	shown   map[pauseLabels]float64 // pauses shown by the metrics; used by run only
	log     *slog.Logger
}

// NewPauser returns a pauser of b's app queues. Only one pauser can serve a batcher. metrics may
// be nil.
func NewPauser(p Pauses, b *Batcher, metrics *Metrics, log *slog.Logger) *Pauser {
	ps := &Pauser{
		pauses: p, batcher: b, news: make(chan pauseReport, 1024), blocked: make(map[string]bool),
		metrics: metrics, log: log,
	}
	b.report = func(n pauseReport) {
		select {
		case ps.news <- n:
		default: // the app is blocked already, and reports again with its next request
		}
	}
	return ps
}

// Run applies the reports of the app queues and reads the pauses of other processes, until ctx
// ends.
func (p *Pauser) Run(ctx context.Context) {
	tick := time.NewTicker(pauseEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case n := <-p.news:
			p.report(ctx, p.write(ctx, n))
		case <-tick.C:
			p.report(ctx, p.sync(ctx))
		}
	}
}

func (p *Pauser) report(ctx context.Context, err error) {
	if err != nil && ctx.Err() == nil {
		p.log.Error("cannot synchronize the pauses", "error", err)
	}
}

// write writes the report of an app queue to Redis. It ends the pause after a probe that passed,
// or sets a pause.
func (p *Pauser) write(ctx context.Context, n pauseReport) error {
	if n.err == nil {
		delete(p.blocked, n.appID)
		if there, err := p.pauses.Lift(ctx, n.appID); err != nil || !there {
			return err
		}
		p.log.Info("the app goes on: its probe has passed", "appid", n.appID)
		return nil
	}
	var end time.Time // the end of the pause, if this call begins it
	pause, err := p.pauses.Set(ctx, n.appID, n.err.Code, n.err.Class.String(), func(times int) time.Time {
		end = pauseEnd(n.err.Class, times, time.Now())
		return end
	})
	if err != nil {
		return err // the app stays blocked locally, and reports again after that
	}
	// Another process may have set the pause first. Only the process that began it counts it.
	if pause.Until.Equal(store.At(end).Time) {
		p.metrics.pauseBegun(pause)
	}
	p.hold(pause)
	p.log.LogAttrs(ctx, slog.LevelWarn, "the app is paused", append([]slog.Attr{
		slog.String("appid", n.appID), slog.Int("errcode", pause.Code), slog.String("class", pause.Reason),
		slog.Time("until", pause.Until.Time), slog.Int("times", pause.Times), slog.String("remedy", wechat.Remedy(pause.Code)),
	}, wechat.RIDAttrs(n.err.RID)...)...)
	return nil
}

// hold blocks an app for a pause in Redis.
func (p *Pauser) hold(pause coord.Pause) {
	p.blocked[pause.AppID] = true
	p.batcher.SetBlock(pause.AppID, NewBlock(classNamed(pause.Reason), pause.Code, pause.Until.Time), false)
}

// sync reads all pauses and applies them. It blocks the apps that other processes have paused,
// and unblocks the apps whose pause another process or an operator has ended. For a pause that
// is over, it requests permission to probe.
func (p *Pauser) sync(ctx context.Context) error {
	list, err := p.pauses.List(ctx)
	if err != nil {
		return err
	}
	p.shown = p.metrics.showPauses(list, p.shown)
	now := time.Now()
	listed := make(map[string]bool, len(list))
	var refused error // after an error no more requests to Redis: each would fail like the first
	for _, pause := range list {
		listed[pause.AppID] = true
		if refused == nil {
			refused = p.follow(ctx, pause, now)
		} else if p.batcher.Has(pause.AppID) {
			p.hold(pause)
		}
	}
	// An app that is no longer listed is not paused any more.
	for appID := range p.blocked {
		if !listed[appID] {
			delete(p.blocked, appID)
			p.batcher.SetBlock(appID, nil, false)
		}
	}
	p.batcher.endLocalBlocks(now)
	return refused
}

// follow applies one pause: the app is blocked while the pause runs, and then allowed to probe
// if this process gets permission.
func (p *Pauser) follow(ctx context.Context, pause coord.Pause, now time.Time) error {
	if !p.batcher.Has(pause.AppID) {
		return nil
	}
	switch {
	case pause.Until.After(now):
		p.hold(pause)
		return nil
	case now.Sub(pause.Until.Time) > pauseForgotten:
		// Without a pause the next request of the app is its test.
		_, err := p.pauses.Lift(ctx, pause.AppID)
		return err
	case pause.ProbeUntil.After(now):
		if !p.blocked[pause.AppID] { // another process probes; if this one does, it has set the block
			p.hold(pause)
		}
		return nil
	}
	p.hold(pause)
	// The pause is over. One process gets permission to probe; the others stay blocked.
	won, err := p.pauses.Probe(ctx, pause.AppID, probeLease)
	if err != nil || !won {
		return err
	}
	p.batcher.SetBlock(pause.AppID,
		NewBlock(classNamed(pause.Reason), pause.Code, pause.Until.Time), true)
	p.log.Info("probing a paused app", "appid", pause.AppID, "errcode", pause.Code, "class", pause.Reason)
	return nil
}

// endLocalBlocks unblocks the apps whose pause has not reached Redis in time.
func (b *Batcher) endLocalBlocks(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for l := range b.local {
		switch {
		case l.block == nil || !l.block.local:
			delete(b.local, l) // the pause is in Redis, or has ended
		case now.After(l.block.Until):
			l.block, l.probing = nil, false
			delete(b.local, l)
		}
	}
}
