package batchtest

import (
	"context"
	"sync"
	"time"

	"cloudidq/internal/coord"
	"cloudidq/store"
)

// Pauses holds the pauses that all processes of a synctest bubble share.
type Pauses struct {
	mu    sync.Mutex
	byApp map[string]coord.Pause
}

// NewPauses returns an empty set of pauses.
func NewPauses() *Pauses { return &Pauses{byApp: map[string]coord.Pause{}} }

// List implements batch.Pauses.
func (p *Pauses) List(context.Context) (list []coord.Pause, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, pause := range p.byApp {
		list = append(list, pause)
	}
	return list, nil
}

// Set implements batch.Pauses.
func (p *Pauses) Set(_ context.Context, appID string, code int, reason string, until func(int) time.Time) (coord.Pause, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	old, ok := p.byApp[appID]
	if ok && old.Until.After(time.Now()) {
		return old, nil
	}
	next := coord.Pause{AppID: appID, Code: code, Reason: reason, Times: old.Times + 1, Until: store.At(until(old.Times + 1))}
	p.byApp[appID] = next
	return next, nil
}

// Probe implements batch.Pauses.
func (p *Pauses) Probe(_ context.Context, appID string, lease time.Duration) (bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	old, ok := p.byApp[appID]
	if !ok || old.Until.After(time.Now()) || old.ProbeUntil.After(time.Now()) {
		return false, nil
	}
	old.ProbeUntil = store.At(time.Now().Add(lease))
	p.byApp[appID] = old
	return true, nil
}

// Lift implements batch.Pauses.
func (p *Pauses) Lift(_ context.Context, appID string) (bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, ok := p.byApp[appID]
	delete(p.byApp, appID)
	return ok, nil
}
