package coord_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cloudidq/internal/coord"
	"cloudidq/internal/redistest"
	"cloudidq/store"
)

// in returns a function for Set that pauses for d from now.
func in(d time.Duration) func(int) time.Time {
	return func(int) time.Time { return time.Now().Add(d) }
}

// A pause that still runs is not replaced by a later Set.
func TestPauses_RunningPauseIsKept(t *testing.T) {
	p := coord.NewPauses(redistest.Start(t).Client(t))
	first, err := p.Set(t.Context(), "wx1", 45009, "quota", in(time.Minute))
	if err != nil || first.Times != 1 || first.Code != 45009 || first.Reason != "quota" {
		t.Fatalf("Set() = %+v, %v", first, err)
	}
	second, err := p.Set(t.Context(), "wx1", 48001, "app", in(time.Hour))
	if err != nil || second != first {
		t.Errorf("Set() of a paused app = %+v, %v, want %+v", second, err, first)
	}
	list, err := p.List(t.Context())
	if err != nil || len(list) != 1 || list[0] != first {
		t.Errorf("List() = %+v, %v", list, err)
	}
}

// Pauses in a row are counted, and a row ends with Lift.
func TestPauses_CountsPausesInARow(t *testing.T) {
	p := coord.NewPauses(redistest.Start(t).Client(t))
	var since store.Time
	for times := 1; times <= 3; times++ {
		got, err := p.Set(t.Context(), "wx1", 45009, "quota", func(n int) time.Time {
			if n != times {
				t.Errorf("until was called for pause %d, want %d", n, times)
			}
			return time.Now().Add(-time.Millisecond)
		})
		if err != nil || got.Times != times {
			t.Fatalf("Set() = %+v, %v, want pause %d in a row", got, err, times)
		}
		if since.IsZero() {
			since = got.Since
		}
		if got.Since != since {
			t.Errorf("since = %s, want that of the first, %s", got.Since, since)
		}
	}
	if ok, err := p.Lift(t.Context(), "wx1"); !ok || err != nil {
		t.Errorf("Lift() = %t, %v", ok, err)
	}
	if ok, err := p.Lift(t.Context(), "wx1"); ok || err != nil {
		t.Errorf("second Lift() = %t, %v, want none", ok, err)
	}
	if again, err := p.Set(t.Context(), "wx1", 45009, "quota", in(time.Minute)); err != nil || again.Times != 1 {
		t.Errorf("Set() after Lift = %+v, %v, want the first in a new row", again, err)
	}
}

// Of several processes, only one may probe a pause that is over.
func TestPauses_OneProbe(t *testing.T) {
	srv := redistest.Start(t)
	p := coord.NewPauses(srv.Client(t))
	if won, err := p.Probe(t.Context(), "wx1", time.Minute); won || err != nil {
		t.Errorf("Probe() of an app that is not paused = %t, %v", won, err)
	}
	if _, err := p.Set(t.Context(), "wx1", 45009, "quota", in(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if won, err := p.Probe(t.Context(), "wx1", time.Minute); won || err != nil {
		t.Errorf("Probe() of a running pause = %t, %v", won, err)
	}
	if _, err := p.Lift(t.Context(), "wx1"); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Set(t.Context(), "wx1", 45009, "quota", in(-time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	var won atomic.Int32
	var wg sync.WaitGroup
	for range 20 {
		process := coord.NewPauses(srv.Client(t))
		wg.Go(func() {
			if ok, err := process.Probe(t.Context(), "wx1", time.Minute); err != nil {
				t.Error(err)
			} else if ok {
				won.Add(1)
			}
		})
	}
	wg.Wait()
	if n := won.Load(); n != 1 {
		t.Errorf("%d processes probe, want 1", n)
	}
}

// A field of another format counts as no pause.
func TestPauses_InvalidFieldIsIgnored(t *testing.T) {
	rdb := redistest.Start(t).Client(t)
	p := coord.NewPauses(rdb)
	rdb.HSet(t.Context(), "cloudidq:pauses", "wx1", "invalid")
	if list, err := p.List(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("List() = %+v, %v, want none", list, err)
	}
	if got, err := p.Set(t.Context(), "wx1", 45009, "quota", in(time.Minute)); err != nil || got.Times != 1 {
		t.Errorf("Set() over it = %+v, %v", got, err)
	}
}

// All processes together send no more requests per minute than the limit.
func TestRates_LimitHoldsInEveryWindow(t *testing.T) {
	t.Parallel()
	srv := redistest.Start(t)
	const perMinute = 600
	processes := []*coord.Rates{coord.NewRates(srv.Client(t)), coord.NewRates(srv.Client(t))}
	// A burst of a tenth, then nine tenths spread over the minute: nine per second.
	const burst, more = 60, 18
	start, taken, waited := time.Now(), 0, time.Duration(0)
	for taken < burst+more {
		wait, err := processes[taken%2].Take(t.Context(), "wx1", perMinute)
		if err != nil {
			t.Fatal(err)
		}
		if wait == 0 {
			taken++
			continue
		}
		if wait > time.Second {
			t.Fatalf("wait of %s at %d requests a minute", wait, perMinute)
		}
		waited += wait
		time.Sleep(wait)
	}
	if seconds := time.Since(start).Seconds(); taken > burst+int(seconds*9)+1 {
		t.Errorf("%d requests in %.1f s", taken, seconds)
	}
	if waited > 2*more*time.Second/9 {
		t.Errorf("waited %s for %d requests", waited, more)
	}
	if wait, err := processes[0].Take(t.Context(), "wx2", perMinute); wait != 0 || err != nil {
		t.Errorf("another app must wait %s, %v", wait, err)
	}
}
