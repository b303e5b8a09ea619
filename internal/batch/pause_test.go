package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"cloudidq/internal/coord"
	"cloudidq/internal/wechat"
	"cloudidq/store"
	"cloudidq/tasks"
)

// memoryPauses holds the pauses that all processes of a synctest bubble share.
type memoryPauses struct {
	mu    sync.Mutex
	byApp map[string]coord.Pause
}

func newMemoryPauses() *memoryPauses { return &memoryPauses{byApp: map[string]coord.Pause{}} }

func (p *memoryPauses) List(context.Context) (list []coord.Pause, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, pause := range p.byApp {
		list = append(list, pause)
	}
	return list, nil
}

func (p *memoryPauses) Set(_ context.Context, appID string, code int, reason string, until func(int) time.Time) (coord.Pause, error) {
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

func (p *memoryPauses) Probe(_ context.Context, appID string, lease time.Duration) (bool, error) {
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

func (p *memoryPauses) Lift(_ context.Context, appID string) (bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, ok := p.byApp[appID]
	delete(p.byApp, appID)
	return ok, nil
}

// pausing starts a process of a bubble: a batcher and its pauser.
func pausing(t *testing.T, f *fakeWeChat, p pauses, apps ...App) *batcher {
	t.Helper()
	b := newBatcher(f, apps)
	ps := newPauser(p, b, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { ps.run(ctx) })
	t.Cleanup(func() { b.close(); cancel(); wg.Wait() })
	return b
}

// quota answers requests of testApp with 45009 while on is true.
func quota(on *bool) func(wechat.Request) *wechat.Error {
	return func(req wechat.Request) *wechat.Error {
		if *on && req.AppID == testApp {
			return &wechat.Error{Class: wechat.ClassQuota, Code: 45009, Message: "reach max api daily quota limit"}
		}
		return nil
	}
}

// users returns one ask for each of n users.
func users(n int) (asks []ask) {
	for i := range n {
		asks = append(asks, asksOf(fmt.Sprintf("o%d", i), 0, 1)...)
	}
	return asks
}

// 45009 stops the requests of its app in all processes. Other apps go on.
func TestPause_StopsTheAppInEveryProcess_AndOnlyIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		on := true
		one := &fakeWeChat{delay: 50 * time.Millisecond, answer: quota(&on)}
		two := &fakeWeChat{delay: 50 * time.Millisecond, answer: quota(&on)}
		other := app(func(a *App) { a.AppID = "wx0000000000000002" })
		shared := newMemoryPauses()
		a := pausing(t, one, shared, app(func(a *App) { a.MaxInFlight = 4 }), other)
		b := pausing(t, two, shared, app(nil), other)

		for _, got := range a.add(untraced, testApp, users(100)).collect(100) {
			if got.outcome.Err == nil || got.outcome.Err.Code != 45009 {
				t.Fatalf("outcome = %+v, want 45009", got.outcome)
			}
		}
		if n := len(one.requests); n > 4 {
			t.Errorf("%d requests, want no more than were under way at the first 45009", n)
		}
		time.Sleep(time.Second)
		b.add(untraced, testApp, users(10)).collect(10)
		if n := len(two.requests); n != 0 {
			t.Errorf("the other process made %d requests", n)
		}
		if h := b.paused(testApp); h == nil || time.Until(h.until) < time.Minute {
			t.Errorf("paused() = %+v, want the first pause of a quota", h)
		}
		for _, got := range b.add(untraced, other.AppID, users(10)).collect(10) {
			if got.outcome.Err != nil {
				t.Errorf("the other app: %v", got.outcome.Err)
			}
		}
	})
}

// After a pause one process sends one probe. If it fails, the app is paused again; if it
// passes, all processes go on.
func TestPause_OneProbeDecides(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		on := true
		one := &fakeWeChat{delay: 50 * time.Millisecond, answer: quota(&on)}
		two := &fakeWeChat{delay: 50 * time.Millisecond, answer: quota(&on)}
		shared := newMemoryPauses()
		processes := []*batcher{pausing(t, one, shared, app(nil)), pausing(t, two, shared, app(nil))}
		processes[0].add(untraced, testApp, users(1)).collect(1)
		time.Sleep(firstQuotaPause + time.Second)

		// The pause is over but the quota is not: one request finds out, and the app is paused
		// until midnight.
		before := len(one.requests) + len(two.requests)
		for _, p := range processes {
			p.add(untraced, testApp, users(20)).collect(20)
		}
		if n := len(one.requests) + len(two.requests) - before; n != 1 {
			t.Errorf("%d requests after the pause, want one probe", n)
		}
		time.Sleep(time.Second)
		h := processes[1].paused(testApp)
		if h == nil {
			t.Fatal("not paused after a probe that failed")
		}
		if got := h.until.In(beijing); got.Hour() != 0 || got.Minute() != 0 {
			t.Errorf("paused until %s, want midnight in Beijing", got)
		}

		// At midnight the probe passes, and all processes go on.
		on = false
		time.Sleep(time.Until(h.until) + time.Second)
		for _, p := range processes {
			p.add(untraced, testApp, users(1)).collect(1)
		}
		time.Sleep(time.Second)
		for i, p := range processes {
			for _, got := range p.add(untraced, testApp, users(20)).collect(20) {
				if got.outcome.Err != nil {
					t.Errorf("process %d after the probe: %v", i, got.outcome.Err)
				}
			}
		}
		if list, _ := shared.List(t.Context()); len(list) != 0 {
			t.Errorf("pauses left: %+v", list)
		}
	})
}

// After an operator has lifted a pause, the app goes on without a probe.
func TestPause_LiftedByAnOperator(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		on := true
		f := &fakeWeChat{answer: quota(&on)}
		shared := newMemoryPauses()
		b := pausing(t, f, shared, app(nil))
		b.add(untraced, testApp, users(1)).collect(1)
		time.Sleep(time.Second)
		if b.paused(testApp) == nil {
			t.Fatal("not paused")
		}
		on = false
		if _, err := shared.Lift(t.Context(), testApp); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if got := b.add(untraced, testApp, users(1)).collect(1); got[0].outcome.Err != nil {
			t.Errorf("after the lift: %v", got[0].outcome.Err)
		}
	})
}

// The length of a pause depends on its class and on the number of pauses in a row.
func TestPauseEnd(t *testing.T) {
	now := time.Date(2026, 11, 22, 14, 30, 20, 0, time.UTC) // 22:30:20 in Beijing
	for _, tc := range []struct {
		class wechat.Class
		times int
		want  time.Duration
	}{
		{wechat.ClassRate, 1, 40 * time.Second},
		{wechat.ClassQuota, 1, 2 * time.Minute},
		{wechat.ClassQuota, 2, time.Hour + 29*time.Minute + 40*time.Second},
		{wechat.ClassApp, 1, 15 * time.Second},
		{wechat.ClassApp, 2, 30 * time.Second},
		{wechat.ClassApp, 50, 10 * time.Minute},
	} {
		if got := pauseEnd(tc.class, tc.times, now).Sub(now); got != tc.want {
			t.Errorf("pauseEnd(%s, %d) is in %s, want %s", tc.class, tc.times, got, tc.want)
		}
	}
}

// untouchable is a store that fails the test on any claim.
type untouchable struct {
	store.Results
	t *testing.T
}

func (u untouchable) Claim(context.Context, store.Claim) ([]store.ClaimResult, error) {
	u.t.Error("the store was asked")
	return nil, errors.New("asked")
}

// told returns a place beyond its app's share that has received its answer.
func told(works bool) *place {
	s := newShares(true, map[string]int{tasks.QueueEvents: 1})
	s.enter(tasks.QueueEvents, testApp)
	p := s.enter(tasks.QueueEvents, testApp)
	p.told <- works
	return p
}

// A task of a paused app, or of one beyond its share, is requeued without a call of the store,
// unless a cloudID must be finished.
func TestMayTry_PausedOrFull_PutBackUntouched(t *testing.T) {
	b := newResolverBed(t, &fakeWeChat{})
	b.resolver.results = untouchable{t: t}
	p := payloadOf(3, time.Now())
	b.batcher.setHalt(testApp, &halt{until: time.Now().Add(90 * time.Second), err: haltError(wechat.ClassQuota, 45009)}, false)
	again, ok := errors.AsType[*againError](newResolution(b.resolver, "task-1", p).mayTry(t.Context(), &place{}))
	if !ok || again.open != 3 || again.failure || again.delay != maxPaused || again.latest.IsZero() {
		t.Errorf("mayTry() of a paused app = %+v", again)
	}
	b.batcher.setHalt(testApp, nil, false)
	if again, ok = errors.AsType[*againError](newResolution(b.resolver, "task-1", p).mayTry(t.Context(), told(false))); !ok || again.failure {
		t.Errorf("mayTry() of an app over its share = %+v", again)
	}
	if err := newResolution(b.resolver, "task-1", p).mayTry(t.Context(), &place{}); err != nil {
		t.Errorf("mayTry() = %v, want nil", err)
	}
	old := payloadOf(1, time.Now().Add(-time.Hour))
	full := newShares(true, map[string]int{tasks.QueueEvents: 1})
	full.enter(tasks.QueueEvents, testApp)
	if err := newResolution(b.resolver, "task-1", old).mayTry(t.Context(), full.enter(tasks.QueueEvents, testApp)); err != nil {
		t.Errorf("mayTry() of what has outlived = %v, want nil: it is to be ended", err)
	}
}

// refusing is a store that refuses claims.
type refusing struct{ store.Results }

func (refusing) Claim(context.Context, store.Claim) ([]store.ClaimResult, error) {
	return nil, errors.New("READONLY")
}

// A task that goes back because the store refuses to date it has not made way. At the head of
// the queue it would return at once and meet the same refusal.
func TestMayTry_StoreRefuses_DoesNotMakeWay(t *testing.T) {
	b := newResolverBed(t, &fakeWeChat{})
	undated := acceptedAt(time.Time{})
	p := told(false)
	if err := newResolution(b.resolver, "task-1", undated).mayTry(t.Context(), p); err == nil || len(p.room.back) != 1 {
		t.Fatalf("mayTry() = %v, %d have made way, want this one", err, len(p.room.back))
	}
	b.resolver.results = refusing{}
	p = told(false)
	again, ok := errors.AsType[*againError](newResolution(b.resolver, "task-1", undated).mayTry(t.Context(), p))
	if !ok || !again.failure || len(p.room.back) != 0 {
		t.Errorf("mayTry() = %+v, %d have made way, want a failed try, and none", again, len(p.room.back))
	}
}

// After breakerTrips requests without an answer nothing is sent for breakerOpen. Then the app
// goes on.
func TestBreaker_StopsAskingAWeChatThatDoesNotAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dead := true
		f := &fakeWeChat{delay: 5 * time.Second, answer: func(wechat.Request) *wechat.Error {
			if dead {
				return &wechat.Error{Class: wechat.ClassRetry, Message: "no answer: timeout"}
			}
			return nil
		}}
		b := newBatcher(f, []App{app(func(a *App) { a.MaxInFlight = 10 })})
		defer b.close()
		begun := time.Now()
		b.add(untraced, testApp, users(1000)).collect(1000)
		// Ten requests time out together. As many may have been sent before the tenth was
		// counted.
		if took := time.Since(begun); took > 11*time.Second || len(f.requests) > 20 {
			t.Errorf("1000 cloudIDs took %s and %d requests, want the breaker to open after %d", took, len(f.requests), breakerTrips)
		}
		dead = false
		time.Sleep(breakerOpen + time.Second)
		if got := b.add(untraced, testApp, users(1)).collect(1); got[0].outcome.Err != nil {
			t.Errorf("after the breaker's pause: %v", got[0].outcome.Err)
		}
	})
}

// fixedRate permits one request a second.
type fixedRate struct {
	mu   sync.Mutex
	next time.Time
	asks int
	gave int
}

func (r *fixedRate) Take(context.Context, string, int) (time.Duration, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asks++
	now := time.Now()
	if now.Before(r.next) {
		return r.next.Sub(now), nil
	}
	r.next = now.Add(time.Second)
	r.gave++
	return 0, nil
}

// Requests keep the app's rate, and one goroutine queries Redis for all that wait.
func TestPace_KeepsTheRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, rate := &fakeWeChat{}, &fixedRate{}
		b := newBatcher(f, []App{app(func(a *App) { a.RatePerMinute = 60 })})
		b.rates = rate
		defer b.close()
		begun := time.Now()
		b.add(untraced, testApp, users(10)).collect(10)
		if took := time.Since(begun); took < 9*time.Second || took > 12*time.Second {
			t.Errorf("10 requests at one a second took %s", took)
		}
		synctest.Wait()
		rate.mu.Lock()
		defer rate.mu.Unlock()
		if rate.gave != 10 || rate.asks > 40 {
			t.Errorf("%d requests of the minute by asking %d times, want 10 for 10, and one to ask for all", rate.gave, rate.asks)
		}
	})
}

// A cloudID that was answered by a pause is requeued until right after the pause, without the
// delay of a new refusal.
func TestAgainFor_AnswerOfAPause(t *testing.T) {
	now := time.Now()
	b := newBatcher(&fakeWeChat{}, []App{{AppID: "wx1", MaxInFlight: 1, BatchMax: 1}})
	defer b.close()
	r := &resolution{h: &resolver{batcher: b}, payload: tasks.ResolvePayload{AppID: "wx1"}}
	answer := haltError(wechat.ClassApp, 41001)
	if again := r.againFor(answer, now); again.delay != delayPaused || again.failure {
		t.Errorf("after the pause: %+v, want back in %s, not counted", again, delayPaused)
	}
	b.setHalt("wx1", &halt{until: now.Add(5 * time.Second), err: answer}, false)
	if again := r.againFor(answer, now); again.delay != 5*time.Second+delayPaused {
		t.Errorf("in the pause: %+v, want back after its end", again)
	}
	if again := r.againFor(&wechat.Error{Class: wechat.ClassRetry, Code: -1}, now); again.delay != 0 || !again.failure {
		t.Errorf("busy in the pause: %+v, want the usual back-off", again)
	}
}
