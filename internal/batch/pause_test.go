package batch

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"cloudidq/internal/batch/batchtest"
	"cloudidq/internal/wechat"
)

// pausing starts a process of a bubble: a batcher and its pauser.
func pausing(t *testing.T, f *batchtest.WeChat, p Pauses, apps ...App) *Batcher {
	t.Helper()
	b := New(f, apps, Options{})
	ps := NewPauser(p, b, nil, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { ps.Run(ctx) })
	t.Cleanup(func() { b.Close(); cancel(); wg.Wait() })
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

// users returns one cloudID of each of n users.
func users(n int) (cloudIDs []CloudID) {
	for i := range n {
		cloudIDs = append(cloudIDs, cloudIDsOf(fmt.Sprintf("o%d", i), 0, 1)...)
	}
	return cloudIDs
}

// 45009 stops the requests of its app in all processes. Other apps go on.
func TestPause_StopsTheAppInEveryProcess_AndOnlyIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		on := true
		one := &batchtest.WeChat{Delay: 50 * time.Millisecond, Answer: quota(&on)}
		two := &batchtest.WeChat{Delay: 50 * time.Millisecond, Answer: quota(&on)}
		other := app(func(a *App) { a.AppID = "wx0000000000000002" })
		shared := batchtest.NewPauses()
		a := pausing(t, one, shared, app(func(a *App) { a.MaxInFlight = 4 }), other)
		b := pausing(t, two, shared, app(nil), other)

		for _, got := range a.Add(untraced, testApp, users(100)).collect(100) {
			if got.Outcome.Err == nil || got.Outcome.Err.Code != 45009 {
				t.Fatalf("outcome = %+v, want 45009", got.Outcome)
			}
		}
		if n := len(one.Requests); n > 4 {
			t.Errorf("%d requests, want no more than were under way at the first 45009", n)
		}
		time.Sleep(time.Second)
		b.Add(untraced, testApp, users(10)).collect(10)
		if n := len(two.Requests); n != 0 {
			t.Errorf("the other process made %d requests", n)
		}
		if h := b.Paused(testApp); h == nil || time.Until(h.Until) < time.Minute {
			t.Errorf("paused() = %+v, want the first pause of a quota", h)
		}
		for _, got := range b.Add(untraced, other.AppID, users(10)).collect(10) {
			if got.Outcome.Err != nil {
				t.Errorf("the other app: %v", got.Outcome.Err)
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
		one := &batchtest.WeChat{Delay: 50 * time.Millisecond, Answer: quota(&on)}
		two := &batchtest.WeChat{Delay: 50 * time.Millisecond, Answer: quota(&on)}
		shared := batchtest.NewPauses()
		processes := []*Batcher{pausing(t, one, shared, app(nil)), pausing(t, two, shared, app(nil))}
		processes[0].Add(untraced, testApp, users(1)).collect(1)
		time.Sleep(firstQuotaPause + time.Second)

		// The pause is over but the quota is not: one request finds out, and the app is paused
		// until midnight.
		before := len(one.Requests) + len(two.Requests)
		for _, p := range processes {
			p.Add(untraced, testApp, users(20)).collect(20)
		}
		if n := len(one.Requests) + len(two.Requests) - before; n != 1 {
			t.Errorf("%d requests after the pause, want one probe", n)
		}
		time.Sleep(time.Second)
		h := processes[1].Paused(testApp)
		if h == nil {
			t.Fatal("not paused after a probe that failed")
		}
		if got := h.Until.In(beijing); got.Hour() != 0 || got.Minute() != 0 {
			t.Errorf("paused until %s, want midnight in Beijing", got)
		}

		// At midnight the probe passes, and all processes go on.
		on = false
		time.Sleep(time.Until(h.Until) + time.Second)
		for _, p := range processes {
			p.Add(untraced, testApp, users(1)).collect(1)
		}
		time.Sleep(time.Second)
		for i, p := range processes {
			for _, got := range p.Add(untraced, testApp, users(20)).collect(20) {
				if got.Outcome.Err != nil {
					t.Errorf("process %d after the probe: %v", i, got.Outcome.Err)
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
		f := &batchtest.WeChat{Answer: quota(&on)}
		shared := batchtest.NewPauses()
		b := pausing(t, f, shared, app(nil))
		b.Add(untraced, testApp, users(1)).collect(1)
		time.Sleep(time.Second)
		if b.Paused(testApp) == nil {
			t.Fatal("not paused")
		}
		on = false
		if _, err := shared.Lift(t.Context(), testApp); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if got := b.Add(untraced, testApp, users(1)).collect(1); got[0].Outcome.Err != nil {
			t.Errorf("after the lift: %v", got[0].Outcome.Err)
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

// After breakerTrips requests without an answer nothing is sent for breakerOpen. Then the app
// goes on.
func TestBreaker_StopsRequestsWhenWeChatDoesNotAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dead := true
		f := &batchtest.WeChat{Delay: 5 * time.Second, Answer: func(wechat.Request) *wechat.Error {
			if dead {
				return &wechat.Error{Class: wechat.ClassRetry, Message: "no answer: timeout"}
			}
			return nil
		}}
		b := New(f, []App{app(func(a *App) { a.MaxInFlight = 10 })}, Options{})
		defer b.Close()
		begun := time.Now()
		b.Add(untraced, testApp, users(1000)).collect(1000)
		// Ten requests time out together. As many may have been sent before the tenth was
		// counted.
		if took := time.Since(begun); took > 11*time.Second || len(f.Requests) > 20 {
			t.Errorf("1000 cloudIDs took %s and %d requests, want the breaker to open after %d", took, len(f.Requests), breakerTrips)
		}
		dead = false
		time.Sleep(breakerOpen + time.Second)
		if got := b.Add(untraced, testApp, users(1)).collect(1); got[0].Outcome.Err != nil {
			t.Errorf("after the breaker's pause: %v", got[0].Outcome.Err)
		}
	})
}

// fixedRate permits one request a second.
type fixedRate struct {
	mu    sync.Mutex
	next  time.Time
	calls int
	gave  int
}

func (r *fixedRate) Take(context.Context, string, int) (time.Duration, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls++
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
		f, rate := &batchtest.WeChat{}, &fixedRate{}
		b := New(f, []App{app(func(a *App) { a.RatePerMinute = 60 })}, Options{})
		b.rates = rate
		defer b.Close()
		begun := time.Now()
		b.Add(untraced, testApp, users(10)).collect(10)
		if took := time.Since(begun); took < 9*time.Second || took > 12*time.Second {
			t.Errorf("10 requests at one a second took %s", took)
		}
		synctest.Wait()
		rate.mu.Lock()
		defer rate.mu.Unlock()
		if rate.gave != 10 || rate.calls > 40 {
			t.Errorf("%d requests in %d calls, want 10 requests in at most 40 calls", rate.gave, rate.calls)
		}
	})
}
