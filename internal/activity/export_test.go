package activity

import (
	"context"
	"time"
)

// SetClock gives a recorder another clock.
func (a *Recorder) SetClock(now func() time.Time) { a.now = now }

// Flush writes what has been counted.
func (a *Recorder) Flush(ctx context.Context) error { return a.flush(ctx) }

// Count counts a duration.
func (l *Latencies) Count(d time.Duration) { l.count(d) }
