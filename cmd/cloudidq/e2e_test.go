package main

import (
	"encoding/json"
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"cloudidq/internal/redistest"
	"cloudidq/internal/wechat/wechattest"
	"cloudidq/store"
	"cloudidq/tasks"
)

// A typical setup: a Redis, a WeChat, two workers, and enqueue --wait from the shell.
func TestEnqueueWait_PrintsTheRecords(t *testing.T) {
	t.Parallel()
	s := newSite(t, wechattest.Config{Seed: 5, Faults: wechattest.Faults{"busy": 0.2, "missing": 0.1, "foreign": 0.2}})
	twin := s.twin(t)
	workers := []*process{s.worker(t), s.worker(t)}

	var taps []wechattest.Tap
	var producers []*process
	now := time.Now()
	for user := range 12 {
		app := appA
		if user%2 == 1 {
			app = appB
		}
		mine := []wechattest.Tap{twin.CloudID(app, user, 0, now), twin.CloudID(app, user, 1, now)}
		taps = append(taps, mine...)
		p := s.start(t, "enqueue", "--config", s.config, "--appid", app, "--openid", mine[0].OpenID, "--wait", "4m",
			"--reference", "order 4711", mine[0].CloudID, mine[1].CloudID)
		want := 0
		var records []store.Record
		status := p.status(t)
		for line := range strings.Lines(p.out.String()) {
			var rec store.Record
			if err := json.Unmarshal([]byte(line), &rec); err != nil {
				t.Fatalf("stdout is not NDJSON: %v", err)
			}
			if rec.Reference != "order 4711" || rec.OpenID != mine[0].OpenID || rec.AppID != app || rec.AcceptedAt.IsZero() {
				t.Errorf("record = %+v, want what was enqueued", rec)
			}
			if rec.Status != store.Resolved {
				want = 1
			}
			records = append(records, rec)
		}
		if len(records) != 2 || status != want {
			t.Fatalf("%d records and exit %d, want 2 and %d; stderr: %s", len(records), status,
				want, p.err.String())
		}
		checkTruth(t, twin, mine, records)
		producers = append(producers, p)
	}
	stats := s.stats(t)
	if stats.Violations != (wechattest.Violations{}) {
		t.Errorf("the simulator saw %+v, want no violations", stats.Violations)
	}
	if stats.TokenCalls != 2 {
		t.Errorf("%d token calls, want one per app for all processes", stats.TokenCalls)
	}
	again := s.start(t, "enqueue", "--config", s.config, "--appid", appA, "--wait", "4m", firstResolved(t, twin, taps))
	if status := again.status(t); status != 0 {
		t.Errorf("enqueue of a resolved cloudID: exit %d, %s", status, again.err.String())
	}
	if after := s.stats(t); after.Requests != stats.Requests {
		t.Errorf("a resolved cloudID cost %d more requests", after.Requests-stats.Requests)
	}
	for _, w := range workers {
		w.term(t)
	}
	s.checkPrivate(t, taps, producers...)
}

func firstResolved(t *testing.T, twin *wechattest.Simulator, taps []wechattest.Tap) string {
	t.Helper()
	for _, tap := range taps {
		if tap.AppID == appA && twin.Truth(tap.AppID, tap.OpenID, tap.CloudID).Status == wechattest.StatusResolved {
			return tap.CloudID
		}
	}
	t.Fatal("nothing is resolved")
	return ""
}

// checkPrivate checks that the output of the processes contains nothing private.
func (s *site) checkPrivate(t *testing.T, taps []wechattest.Tap, others ...*process) {
	t.Helper()
	var all strings.Builder
	for _, p := range append(others, s.outputs...) {
		all.WriteString(p.err.String())
	}
	output := all.String()
	if len(output) == 0 {
		t.Fatal("the processes have no output, so this test proves nothing")
	}
	output += s.queueErrors(t)
	// 80_ and @@@ occur in the simulator's tokens and tickets.
	planted := append([]string{tokA, "access_token=", "phoneNumber", "stepInfoList", "80_", "@@@", "let-me-in"}, s.planted...)
	for _, tap := range taps {
		planted = append(planted, tap.CloudID, tap.OpenID)
	}
	for _, p := range planted {
		if at := strings.Index(output, p); at >= 0 {
			t.Errorf("the log contains %q: …%s…", p, output[max(0, at-200):min(len(output), at+200)])
		}
	}
}

// queueErrors returns the errors that asynq stores and the dashboard shows.
func (s *site) queueErrors(t *testing.T) string {
	t.Helper()
	inspector := asynq.NewInspectorFromRedisClient(s.redis.Client(t))
	var all strings.Builder
	for _, queue := range []string{tasks.QueueEvents, tasks.QueueBackfill, tasks.QueueWebhooks} {
		for _, list := range []func(string, ...asynq.ListOption) ([]*asynq.TaskInfo, error){
			inspector.ListRetryTasks, inspector.ListArchivedTasks, inspector.ListPendingTasks,
		} {
			infos, err := list(queue, asynq.PageSize(1000))
			if err != nil && !errors.Is(err, asynq.ErrQueueNotFound) {
				t.Fatal(err)
			}
			for _, info := range infos {
				all.WriteString(info.LastErr + "\n")
			}
		}
	}
	return all.String()
}

// acknowledged returns the mark of the command with which a worker acknowledges a task of a
// queue.
func acknowledged(queue string) string { return "asynq:{" + queue + "}:processed\r" }

// A worker is killed while it works. The next worker brings every cloudID to the correct final
// status.
func TestKill9_EveryCloudIDFinishesCorrectly(t *testing.T) {
	t.Parallel()
	const n = 2000
	s := newSite(t, wechattest.Config{
		Seed: 6, Latency: 30 * time.Millisecond, Faults: wechattest.Faults{"busy": 0.05, "missing": 0.02, "foreign": 0.02},
	})
	wire := newTripwire(t, s.redis.Addr)
	s.redisAddr = wire.addr
	s.configure(t, "")
	twin := s.twin(t)
	victim := s.worker(t)
	wire.arm(crashPoint{mark: acknowledged(tasks.QueueEvents), skip: 5}, victim)
	taps := s.enqueueMany(t, twin, n, 1000)
	wire.wait(t, victim)
	_, before := s.records(t, taps)
	if inFlight := s.redis.Client(t).ZCard(t.Context(), "asynq:{events}:lease").Val(); inFlight == 0 || before < 100 {
		t.Fatalf("%d tasks were in flight at the kill and %d cloudIDs were finished, so this test proves nothing", inFlight, before)
	}
	s.redisAddr = ""
	s.configure(t, "")
	s.worker(t)
	var records []store.Record
	waitFor(t, "all cloudIDs to finish", func() bool {
		var finished int
		records, finished = s.records(t, taps)
		return finished == n
	})
	t.Logf("%d cloudIDs were finished at the kill", before)
	checkTruth(t, twin, taps, records)
	v := s.stats(t).Violations
	if v.MixedOpenIDs != 0 || v.AfterDeadline != 0 {
		t.Errorf("the simulator saw %+v", v)
	}
	// The next worker sends cloudIDs again whose answer was not yet stored when the first one
	// died. None is lost.
	if most := int64(64 * 20); v.AfterResolved > most {
		t.Errorf("%d cloudIDs were requested again, want at most those in flight", v.AfterResolved)
	}
}

// On SIGTERM while WeChat does not answer, the process exits in time and its tasks are back in
// the queue.
func TestSIGTERM_RequeuesTasks(t *testing.T) {
	t.Parallel()
	s := newSite(t, wechattest.Config{Seed: 7})
	wechat := s.newGate(t, 0)
	s.configure(t, "worker: {shutdown_timeout: 2s}")
	twin := s.twin(t)
	taps := s.enqueueMany(t, twin, 300, 300)
	w := s.worker(t)
	waitFor(t, "requests in flight", func() bool { return wechat.blocked() > 0 })
	w.term(t) // before WeChat has answered any request
	if n := s.stats(t).Requests; n != 0 {
		t.Errorf("WeChat has answered %d requests", n)
	}
	if status := w.status(t); status != 0 {
		t.Errorf("exit %d after SIGTERM, want 0: %s", status, w.err.String())
	}
	inspector := asynq.NewInspectorFromRedisClient(s.redis.Client(t))
	info, err := inspector.GetQueueInfo(tasks.QueueEvents)
	if err != nil {
		t.Fatal(err)
	}
	if info.Active != 0 || info.Pending+info.Retry != 3 {
		t.Errorf("queue after the stop: %d active, %d pending, %d retry; want all 3 tasks requeued",
			info.Active, info.Pending, info.Retry)
	}
	wechat.open()
	s.worker(t)
	var records []store.Record
	waitFor(t, "all cloudIDs to finish", func() bool {
		var finished int
		records, finished = s.records(t, taps)
		return finished == len(taps)
	})
	checkTruth(t, twin, taps, records)
}

// On SIGTERM while WeChat answers, the worker finishes its tasks and does not requeue them.
func TestSIGTERM_FinishesTasksInFlight(t *testing.T) {
	t.Parallel()
	s := newSite(t, wechattest.Config{Seed: 8})
	wechat := s.newGate(t, 0)
	s.configure(t, "worker: {shutdown_timeout: 10m}")
	twin := s.twin(t)
	taps := s.enqueueMany(t, twin, 100, 100)
	w := s.worker(t)
	waitFor(t, "requests in flight", func() bool { return wechat.blocked() > 0 })
	if err := w.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the stop to begin", func() bool { return strings.Contains(w.err.String(), "the worker stops") })
	wechat.open()
	if status := w.status(t); status != 0 {
		t.Errorf("exit %d: %s", status, w.err.String())
	}
	records, finished := s.records(t, taps)
	if finished != len(taps) {
		t.Errorf("%d of %d cloudIDs are finished, want all of the task in flight", finished,
			len(taps))
	}
	checkTruth(t, twin, taps, records)
}

// Nothing is sent after the lifetime: a cloudID that waited too long becomes expired without a
// request.
func TestLifetimeOver_ExpiresWithoutRequest(t *testing.T) {
	t.Parallel()
	s := newSite(t, wechattest.Config{Seed: 9})
	twin := s.twin(t)
	client := tasks.NewClient(s.redis.Client(t), tasks.Options{})
	defer client.Close()
	tap := twin.CloudID(appA, 1, 1, time.Now().Add(-10*time.Minute))
	req := tasks.Request{AppID: appA, Items: []tasks.Item{{CloudID: tap.CloudID, OpenID: tap.OpenID, ObtainedAt: tap.ObtainedAt}}}
	if _, err := client.Resolve(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	s.worker(t)
	var records []store.Record
	waitFor(t, "the cloudID to finish", func() bool {
		var finished int
		records, finished = s.records(t, []wechattest.Tap{tap})
		return finished == 1
	})
	if rec := records[0]; rec.Status != store.Expired || rec.Attempts != 0 || rec.Error == nil || rec.Error.Code != 0 {
		t.Errorf("record = %+v, want expired without an attempt", rec)
	}
	if stats := s.stats(t); stats.Requests != 0 {
		t.Errorf("%d requests, want none", stats.Requests)
	}
	inspector := asynq.NewInspectorFromRedisClient(s.redis.Client(t))
	waitFor(t, "the archive", func() bool {
		list, err := inspector.ListArchivedTasks(tasks.QueueEvents)
		return err == nil && len(list) == 1 && strings.HasPrefix(list[0].LastErr, "no cloudID brought data: 0 failed, 1 expired")
	})
}

// A task that no worker can read is archived with a reason and is not retried.
func TestUnreadablePayload_Archived(t *testing.T) {
	t.Parallel()
	s := newSite(t, wechattest.Config{Seed: 10})
	rdb := s.redis.Client(t)
	const planted = "planted-13812345678"
	task := asynq.NewTask(tasks.TypeResolve, []byte(`{"v":1,"appid":"`+planted))
	if _, err := asynq.NewClientFromRedisClient(rdb).Enqueue(task, asynq.Queue(tasks.QueueEvents)); err != nil {
		t.Fatal(err)
	}
	w := s.worker(t)
	inspector := asynq.NewInspectorFromRedisClient(rdb)
	waitFor(t, "the archive", func() bool {
		list, err := inspector.ListArchivedTasks(tasks.QueueEvents)
		if err != nil || len(list) != 1 {
			return false
		}
		if reason := list[0].LastErr; !strings.HasPrefix(reason, "payload cannot be read: ") || strings.Contains(reason, planted) {
			t.Errorf("reason = %q", reason)
		}
		return list[0].Retried == 0
	})
	if output := w.err.String(); !strings.Contains(output, "archived a task whose payload cannot be read") || strings.Contains(output, planted) {
		t.Errorf("the log is %s", output)
	}
}

// Redis stops during the work and restarts with the content of its append-only file.
func TestRedisRestart_EveryCloudIDFinishesCorrectly(t *testing.T) {
	t.Parallel()
	const n = 2000
	durable := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
	s := newSiteOn(t, durable, wechattest.Config{
		Seed: 11, Latency: 30 * time.Millisecond, Faults: wechattest.Faults{"busy": 0.05, "foreign": 0.02},
	})
	twin := s.twin(t)
	taps := s.enqueueMany(t, twin, n, 1500)
	w := s.worker(t)
	waitFor(t, "some cloudIDs to finish", func() bool { _, finished := s.records(t, taps); return finished > n/5 })
	s.redis.Kill()
	waitFor(t, "the worker to notice the outage", func() bool { return strings.Count(w.err.String(), "connection refused") >= 5 })
	s.redis.Restart()
	var records []store.Record
	waitFor(t, "all cloudIDs to finish", func() bool {
		var finished int
		records, finished = s.records(t, taps)
		return finished == n
	})
	checkTruth(t, twin, taps, records)
	v := s.stats(t).Violations
	if v.MixedOpenIDs != 0 || v.AfterDeadline != 0 {
		t.Errorf("the simulator saw %+v", v)
	}
	w.term(t)
	t.Logf("processor time of the worker: %s", w.cmd.ProcessState.UserTime()+w.cmd.ProcessState.SystemTime())
}
