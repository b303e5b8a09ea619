package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hibiken/asynq"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"cloudidq/internal/attempt"
	"cloudidq/internal/batch"
	"cloudidq/internal/batch/batchtest"
	"cloudidq/internal/wechat"
	"cloudidq/store"
	"cloudidq/tasks"
)

// counting returns the metrics of a worker with one app, and their registry.
func counting() (*metrics, *prometheus.Registry) {
	registry := prometheus.NewRegistry()
	return newMetrics(registry, &Config{Apps: []App{app(nil)}}), registry
}

// shown lists the series of a metric that are not 0. A histogram is shown by its count.
func shown(t *testing.T, registry *prometheus.Registry, name string) string {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, family := range families {
		for _, m := range family.GetMetric() {
			value := m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			if family.GetName() != name || value == 0 {
				continue
			}
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetValue())
			}
			all = append(all, fmt.Sprintf("%s=%v", strings.Join(labels, " "), value))
		}
	}
	return strings.ReplaceAll(strings.Join(all, ", "), testApp, "wx1")
}

// wantShown compares metrics, by name, with what shown returns.
func wantShown(t *testing.T, registry *prometheus.Registry, want map[string]string) {
	t.Helper()
	for name, text := range want {
		if got := shown(t, registry, name); got != text {
			t.Errorf("%s: %s, want %s", name, got, text)
		}
	}
}

// Each finished cloudID counts once, by status, class and errcode. Unknown errcodes share one
// label.
func TestMetrics_FinishedAndRetried(t *testing.T) {
	busy := true
	b := newResolverFixture(t, &batchtest.WeChat{Answer: func(req wechat.Request) *wechat.Error {
		switch req.Items[0].CloudID {
		case "73_001":
			return &wechat.Error{Class: wechat.ClassItem, Code: -601007, Message: "no"}
		case "73_002":
			return &wechat.Error{Class: wechat.ClassCall, Code: 40998, Message: "a code that nobody knows"}
		case "73_003":
			if busy {
				return &wechat.Error{Class: wechat.ClassRetry, Code: -1, Message: "busy"}
			}
		case "73_004":
			return &wechat.Error{Class: wechat.ClassItem, Message: "watermark names another app"}
		}
		return nil
	}})
	m, registry := counting()
	b.metrics = m
	p := payloadOf(6, time.Now())
	p.Items[5].ObtainedAt = time.Now().Add(-10 * time.Minute)
	attemptOnce := func() error {
		r := newResolution(b.resolver, "task-1", p)
		err := r.attempt(t.Context())
		r.countRetries()
		return err
	}
	if err := attemptOnce(); attempt.Result(err) != attempt.Again {
		t.Fatalf("attempt() = %v, want again", err)
	}
	busy = false
	if err := attemptOnce(); err != nil {
		t.Fatalf("second attempt() = %v", err)
	}
	wantShown(t, registry, map[string]string{
		"cloudidq_cloudids_finished_total": "wx1 call other failed=1, wx1 expired 0 expired=1, wx1 item -601007 failed=1, " +
			"wx1 item 0 failed=1, wx1 none 0 resolved=2",
		"cloudidq_cloudid_duration_seconds":      "wx1 expired=1, wx1 failed=3, wx1 resolved=2",
		"cloudidq_cloudid_lifetime_left_seconds": "expired=1, failed=3, resolved=2",
		"cloudidq_cloudid_retries_total":         "wx1 queue=1",
	})
}

// A cloudID whose record is not saved is requested again, so it does not count as finished.
func TestMetrics_UnsavedCloudIDsAreNotCounted(t *testing.T) {
	b := newResolverFixture(t, &batchtest.WeChat{})
	m, registry := counting()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	b.metrics, b.resolver.results = m, unsaving{b.results, cancel}
	if err := newResolution(b.resolver, "task-1", payloadOf(2, time.Now())).attempt(ctx); err == nil {
		t.Fatal("attempt() = nil without a store")
	}
	wantShown(t, registry, map[string]string{"cloudidq_cloudids_finished_total": ""})
}

// Each attempt is observed with the result of its task, and no task stays in flight.
func TestMetrics_AttemptsByResult(t *testing.T) {
	m, registry := counting()
	var answer error
	handler := m.observeAttempts(recoverPanics(slog.New(slog.DiscardHandler))(asynq.HandlerFunc(
		func(context.Context, *asynq.Task) error {
			if answer == nil {
				return nil
			}
			if answer.Error() == "panic" {
				panic("a value")
			}
			return answer
		})))
	for _, answer = range []error{
		nil, &requeueError{failure: true}, &requeueError{}, &attempt.SnoozeError{Failure: true}, &attempt.SnoozeError{},
		attempt.Archive("x"),
		context.Canceled, errors.New("panic"),
	} {
		_ = handler.ProcessTask(t.Context(), asynq.NewTask(tasks.TypeResolve, nil))
	}
	wantShown(t, registry, map[string]string{
		"cloudidq_task_try_duration_seconds": " again=2,  archived=1,  canceled=1,  done=1,  failed=1,  wait=2",
		"cloudidq_tasks_in_flight":           "",
	})
}

// All processes show all pauses. Only the process that began a pause counts it.
func TestMetrics_PausesOfAllProcesses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &batchtest.WeChat{Answer: func(wechat.Request) *wechat.Error {
			return &wechat.Error{Class: wechat.ClassQuota, Code: 45009, Message: "quota"}
		}}
		shared := batchtest.NewPauses()
		var registries []*prometheus.Registry
		var batchers []*batch.Batcher
		for range 2 {
			registry := prometheus.NewRegistry()
			m := batch.NewMetrics(registry, wechat.NewAppLabels(testApp))
			b := batch.New(f, []App{app(nil)}, batch.Options{Metrics: m})
			ps := batch.NewPauser(shared, b, m, slog.New(slog.DiscardHandler))
			ctx, cancel := context.WithCancel(t.Context())
			var running sync.WaitGroup
			running.Go(func() { ps.Run(ctx) })
			t.Cleanup(func() { b.Close(); cancel(); running.Wait() })
			registries, batchers = append(registries, registry), append(batchers, b)
		}
		<-batchers[0].Add(untraced, testApp, []batch.CloudID{{OpenID: "o0", Item: wechat.Item{CloudID: "73_o0_000"}}}).Answers
		// Three apps of merchants: two with a known errcode, and one with an unknown errcode.
		for i, app := range []string{"wxm1", "wxm2", "wxm3"} {
			if _, err := shared.Set(t.Context(), app, []int{61003, 61003, 12345}[i], "app", func(int) time.Time {
				return time.Now().Add(time.Minute)
			}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second)
		for i, registry := range registries {
			wantShown(t, registry, map[string]string{
				"cloudidq_app_paused":       "other app 61003=2, other app other=1, wx1 quota 45009=1",
				"cloudidq_app_pauses_total": []string{"wx1 quota 45009=1", ""}[i],
			})
		}
		for _, app := range []string{testApp, "wxm1"} {
			if _, err := shared.Lift(t.Context(), app); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second)
		wantShown(t, registries[1], map[string]string{"cloudidq_app_paused": "other app 61003=1, other app other=1"})
		if n, err := testutil.GatherAndCount(registries[1], "cloudidq_app_paused"); err != nil || n != 3 {
			t.Errorf("%d series, want the app's 0 and the two that are paused", n)
		}
	})
}

// fakeQuotas returns the same quota for every app, or an error while away is set.
type fakeQuotas struct {
	lookups atomic.Int64
	away    atomic.Bool
}

func (f *fakeQuotas) Quota(context.Context, wechat.TokenSource) (wechat.Quota, error) {
	f.lookups.Add(1)
	if f.away.Load() {
		return wechat.Quota{}, errors.New("no answer")
	}
	return wechat.Quota{DailyLimit: 1000, Used: 400, Remain: 600}, nil
}

// memoryLeases holds the lease that all processes of a synctest bubble share.
type memoryLeases struct {
	mu     sync.Mutex
	holder string
	until  time.Time
}

func (l *memoryLeases) Hold(_ context.Context, _, holder string, ttl time.Duration) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.holder != holder && time.Now().Before(l.until) {
		return false, nil
	}
	l.holder, l.until = holder, time.Now().Add(ttl)
	return true, nil
}

func (l *memoryLeases) Release(_ context.Context, _, holder string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.holder == holder {
		l.until = time.Time{}
	}
	return nil
}

// One process looks the quotas up, every ten minutes. Another continues when it stops. A failed
// lookup removes the old values.
func TestQuotaWatch_OneProcessLooksUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leases := &memoryLeases{}
		type watching struct {
			quotas   *fakeQuotas
			registry *prometheus.Registry
			stop     func()
		}
		start := func() watching {
			m, registry := counting()
			w := watching{quotas: &fakeQuotas{}, registry: registry}
			q := newQuotaWatch([]App{app(nil), {AppID: "wxmany"}}, w.quotas, leases, m, slog.New(slog.DiscardHandler))
			ctx, cancel := context.WithCancel(t.Context())
			var running sync.WaitGroup
			running.Go(func() { q.run(ctx) })
			w.stop = func() { cancel(); running.Wait() }
			return w
		}
		one := start()
		time.Sleep(time.Second)
		two := start()
		time.Sleep(30*time.Second + time.Hour)
		if n, m := one.quotas.lookups.Load(), two.quotas.lookups.Load(); n != 6 || m != 0 {
			t.Errorf("%d and %d lookups in an hour, want one process to look up every 10 minutes", n, m)
		}
		const quotas = "wx1 limit=1000, wx1 remain=600, wx1 used=400"
		wantShown(t, one.registry, map[string]string{"cloudidq_wechat_quota_requests": quotas})
		wantShown(t, two.registry, map[string]string{"cloudidq_wechat_quota_requests": ""})
		one.stop()
		time.Sleep(time.Minute + time.Second)
		wantShown(t, two.registry, map[string]string{"cloudidq_wechat_quota_requests": quotas})
		two.quotas.away.Store(true)
		time.Sleep(11 * time.Minute)
		wantShown(t, two.registry, map[string]string{"cloudidq_wechat_quota_requests": ""}) // no value is better than an old one
		two.stop()
	})
}

// Appids and errcodes from outside do not increase the number of series, which
// depends on the configuration only.
func TestMetrics_LabelsAreBounded(t *testing.T) {
	m, registry := counting()
	for i := range 1000 {
		appID := fmt.Sprint("wxmerchant", i)
		m.countFinished(appID, []finishedCloudID{{status: store.Failed, class: wechat.ClassCall, code: 100_000 + i}})
		m.retried(appID, layerCall, 1)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if n := len(family.GetMetric()); n > 12 {
			t.Errorf("%s has %d series", family.GetName(), n)
		}
	}
}
